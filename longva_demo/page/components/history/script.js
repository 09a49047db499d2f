// Chats of this browser, from before the page was loaded: to read, and to save. `props.value` is what to remember of
// the present one: {at, page, number, record}, when it was made, the server's name for the page, and the record as JSON
// text, or null where the chat was cleared. Kept in localStorage alone, and drawn with textContent.
const KEY = "longva-chats", MOST = 8;
let keptAt = 0;  // updates may come in another order than they were made
let mine = "";  // the present page, once the server has named it
const box = element.querySelector(".history");
const list = element.querySelector(".history-chats");

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) || "[]");
    return Array.isArray(kept) ? kept.filter((chat) => typeof chat?.record === "string") : [];
  } catch {
    return [];  // storage is switched off, or holds something else
  }
}

function store(chats) {
  // The newest chats that the browser has room for.
  for (let kept = chats.slice(0, MOST); ; kept = kept.slice(0, -1)) {
    try { return localStorage.setItem(KEY, JSON.stringify(kept)); } catch { if (!kept.length) return; }
  }
}

function remember(value) {
  if (!value || value.at < keptAt) return;
  keptAt = value.at;
  mine = value.page;
  const gone = (chat) => chat.page === mine && chat.number >= value.number;  // all of this page's, after Clear
  const others = load().filter((chat) => !gone(chat));
  store(value.record ? [{ page: mine, number: value.number, record: value.record }, ...others] : others);
}

function download(record, name) {
  const link = make("a", ""), url = URL.createObjectURL(new Blob([record], { type: "application/json" }));
  link.href = url;
  link.download = `${name}-chat.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function earlierChat(text) {
  const record = JSON.parse(text), media = record.media, name = media ? media.name : say("history.no_video");
  const node = make("details", "history-chat"), head = make("summary", "");
  const count = record.turns.length, date = new Date(record.saved);
  const when = date.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  head.append(make("b", "", name), make("span", "", ` ${say("history.chat", { count, date: when })}`));
  node.append(head);
  for (const turn of record.turns)
    node.append(make("p", "history-question", turn.question), make("p", "history-answer", turn.answer || say("answer.none")));
  const budget = media?.frames?.indices.length ? media.frames.budget : 0;
  const hint = budget ? "history.with_frames" : media ? "history.with_file" : "history.alone";
  node.append(make("p", "history-hint", say(hint, { name, count: budget })));
  const save = make("button", "tool", say("chat.save_json"));
  save.type = "button";
  save.title = say("history.save_title");
  save.addEventListener("click", () => download(text, media ? name.replace(/\.[^.]*$/, "") : "longva"));
  node.append(save);
  return node;
}

function draw() {
  const nodes = [];
  for (const chat of load().filter((chat) => chat.page !== mine)) {
    try { nodes.push(earlierChat(chat.record)); } catch { /* not a record of ours */ }
  }
  list.replaceChildren(...nodes);
  box.hidden = nodes.length === 0;
}

element.querySelector(".history-forget").addEventListener("click", () => {
  store(load().filter((chat) => chat.page === mine));
  draw();
});
watch("value", () => remember(props.value));
box.open = window.wasRestarted || window.wasClosed;  // restart.js
draw();
