// Chats of this browser, from before the page was loaded: to read, and to save. `props.value` is what to remember of
// the present one: {number, record}, the record as JSON text, or null where the chat was cleared. Kept in localStorage
// alone, and drawn with textContent.
const KEY = "longva-chats", MOST = 8;
const mine = `${Date.now()}-${Math.random()}`;
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
  if (!value) return;
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
  const record = JSON.parse(text), media = record.media, name = media ? media.name : "no video";
  const node = make("details", "history-chat"), head = make("summary", "");
  const count = record.turns.length, date = new Date(record.saved);
  const when = date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  head.append(make("b", "", name), make("span", "", ` ${count} question${count > 1 ? "s" : ""} · ${when}`));
  node.append(head);
  for (const turn of record.turns)
    node.append(make("p", "history-question", turn.question), make("p", "history-answer", turn.answer || "(no answer)"));
  const frames = media?.frames?.indices.length;
  const budget = frames ? ` with a budget of ${media.frames.budget.toLocaleString("en-US")} frames` : "";
  node.append(make("p", "history-hint", media ? `To go on, choose ${name} again${budget}.` : "To go on, ask again."));
  const save = make("button", "tool", "Save as JSON");
  save.type = "button";
  save.title = "This chat, to ask again: longva-demo replay";
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
draw();
