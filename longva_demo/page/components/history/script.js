// This browser's chats from before the page was loaded, to read and to save. `props.value` is what to store of the
// present one: {at, page, number, record}: when it was made, the server's name for the page, and the record as JSON, or
// null if the chat was cleared. Stored in localStorage only, and drawn with textContent.
const KEY = "longva-chats", MAX_CHATS = 8, URL_LIFETIME_MS = 60_000;
let storedAt = 0;  // updates may arrive out of order
let ownPage = "";  // this page, once the server has named it
const box = element.querySelector(".history");
const list = element.querySelector(".history-chats");

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) || "[]");
    return Array.isArray(stored) ? stored.filter((chat) => typeof chat?.record === "string") : [];
  } catch {
    return [];  // storage is disabled, or holds something else
  }
}

// Stores the newest chats, as many as the browser has room for.
function store(chats) {
  for (let kept = chats.slice(0, MAX_CHATS); ; kept = kept.slice(0, -1)) {
    try { localStorage.setItem(KEY, JSON.stringify(kept)); return; } catch { if (!kept.length) return; }
  }
}

function update(value) {
  if (!value || value.at < storedAt) return;
  storedAt = value.at;
  ownPage = value.page;
  // After Clear, this removes all later chats of this page.
  const isReplaced = (chat) => chat.page === ownPage && chat.number >= value.number;
  const others = load().filter((chat) => !isReplaced(chat));
  store(value.record ? [{ page: ownPage, number: value.number, record: value.record }, ...others] : others);
}

function download(record, name) {
  const link = make("a", ""), url = URL.createObjectURL(new Blob([record], { type: "application/json" }));
  link.href = url;
  link.download = `${name}-chat.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), URL_LIFETIME_MS);
}

// How to go on: choose the same file again, and for a video the same budget.
function makeHint(media, name) {
  const budget = media?.frames?.indices.length ? media.frames.budget : 0;
  const key = budget ? "history.with_frames" : media ? "history.with_file" : "history.alone";
  return make("p", "history-hint", say(key, { name, count: budget }));
}

function makeSaveButton(text, media, name) {
  const save = make("button", "tool", say("chat.save_json"));
  save.type = "button";
  save.title = say("history.save_title");
  save.addEventListener("click", () => download(text, media ? name.replace(/\.[^.]*$/, "") : "longva"));
  return save;
}

function makeChat(text) {
  const record = JSON.parse(text), { media } = record, name = media ? media.name : say("history.no_video");
  const node = make("details", "history-chat"), head = make("summary", "");
  const date = new Date(record.saved)
    .toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  head.append(make("b", "", name), make("span", "", ` ${say("history.chat", { count: record.turns.length, date })}`));
  node.append(head);
  for (const { question, answer } of record.turns)
    node.append(make("p", "history-question", question), make("p", "history-answer", answer || say("answer.none")));
  node.append(makeHint(media, name), makeSaveButton(text, media, name));
  return node;
}

function draw() {
  const nodes = [];
  for (const chat of load().filter(({ page }) => page !== ownPage)) {
    try { nodes.push(makeChat(chat.record)); } catch { /* not one of this demo's records */ }
  }
  list.replaceChildren(...nodes);
  box.hidden = nodes.length === 0;
}

element.querySelector(".history-forget").addEventListener("click", () => {
  store(load().filter((chat) => chat.page === ownPage));
  draw();
});
watch("value", () => update(props.value));
box.open = window.wasRestarted || window.wasClosed;  // see stale_tab.js
draw();
