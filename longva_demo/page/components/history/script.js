// This browser's chats from before the page was loaded, to read, to save and to go on with. `props.value` is what to
// store of the present one: {at, page, number, record}: when it was made, the server's name for the page, and the record
// as JSON, or null if the chat was cleared. Stored in localStorage only, and drawn with textContent.
const KEY = "longva-chats", LAST_PAGE = "longva-page", MAX_CHATS = 8, URL_LIFETIME_MS = 60_000;
const RACE_MS = 5000;  // another tab that stores within this time may not have seen what this one stored
let newest = { at: 0 };  // the newest update: they may arrive out of order
let storedAt = -Infinity, wasRepeated = false;  // when it was stored, in ms, and whether it was stored again
let ownPage = "";  // this page, once the server has named it
let pending = null;  // the chat that goes on once its file is selected: {record, sha256, isReload}
let continued = "";  // the record with which this page's chat began
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
  if (!value || value.at < newest.at) return;
  newest = value;
  [storedAt, wasRepeated] = [performance.now(), false];
  ownPage = value.page;
  try { sessionStorage.setItem(LAST_PAGE, ownPage); } catch { /* storage is disabled */ }
  storeNewest();
}

function storeNewest() {
  const value = newest;
  // After Clear, this removes all later chats of this page.
  const isReplaced = (chat) => chat.page === ownPage && chat.number >= value.number;
  const others = load().filter((chat) => !isReplaced(chat) && chat.record !== continued);
  store(value.record ? [{ page: ownPage, number: value.number, record: value.record }, ...others] : others);
  draw();
}

// Two tabs that store at the same time overwrite each other's chat. The one whose chat is then missing stores it again.
addEventListener("storage", ({ key }) => {
  if (key !== KEY || wasRepeated || performance.now() - storedAt > RACE_MS) return;
  const isStored = load().some((chat) => chat.page === ownPage && chat.number >= newest.number);
  if (isStored === Boolean(newest.record)) return;
  wasRepeated = true;
  storeNewest();
});

function download(record, name) {
  const link = make("a", ""), url = URL.createObjectURL(new Blob([record], { type: "application/json" }));
  link.href = url;
  link.download = `${name}-chat.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), URL_LIFETIME_MS);
}

// The budget and the range of a recorded chat, as they are typed.
function fieldsOf({ frames }) {
  if (!frames) return {};
  const { budget, duration_seconds: duration, start_seconds: start, end_seconds: end } = frames;
  const [typedStart, typedEnd] = selection.typedRange(start, end, duration);
  return { budget, start: typedStart, end: typedEnd };
}

// An example is opened again. The visitor's own file must be chosen: `hint` says which, and the server compares it.
function goOn(text, hint) {
  const { media } = JSON.parse(text);
  pending = { record: text, sha256: media?.sha256 };
  if (!media) { resume(); return; }
  const detail = { sha256: media.sha256, ...fieldsOf(media) };
  document.dispatchEvent(new CustomEvent("longva:open-example", { detail }));
  if (selection.isExample(media.sha256)) return;
  selection.awaitFile(fieldsOf(media));
  hint.hidden = false;
  hint.textContent = say("history.choose", { name: media.name });
}

function resume() {
  continued = pending.record;
  pending = null;
  trigger("resume", { record: continued });
  draw();
}

function makeButtons(text, media, name) {
  const hint = make("p", "history-hint", ""), go = make("button", "tool", say("history.go_on"));
  hint.hidden = true;
  go.type = "button";
  go.title = say("history.go_on_title");
  go.addEventListener("click", () => goOn(text, hint));
  return [go, makeSaveButton(text, media, name), hint];
}

function makeSaveButton(text, media, name) {
  const save = make("button", "tool", say("chat.save_json"));
  save.type = "button";
  save.title = say("history.save_title");
  save.addEventListener("click", () => download(text, media ? name.replace(/\.[^.]*$/, "") : "longva"));
  return save;
}

function makeChat(text, isOpen) {
  const record = JSON.parse(text), { media } = record, name = media ? media.name : say("history.no_video");
  const node = make("details", "history-chat"), head = make("summary", "");
  node.open = isOpen;
  node.record = text;
  const date = new Date(record.saved)
    .toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  head.append(make("b", "", name), make("span", "", ` ${say("history.chat", { count: record.turns.length, date })}`));
  node.append(head);
  for (const { question, answer } of record.turns)
    node.append(make("p", "history-question", question), make("p", "history-answer", answer || say("answer.none")));
  node.append(...makeButtons(text, media, name));
  return node;
}

function draw(opened = [...list.children].filter(({ open }) => open).map(({ record }) => record)) {
  const nodes = [];
  for (const chat of load().filter(({ page, record }) => page !== ownPage && record !== continued)) {
    const isOpen = opened.includes(chat.record);
    try { nodes.push(makeChat(chat.record, isOpen)); } catch { /* not one of this demo's records */ }
  }
  list.replaceChildren(...nodes);
  box.hidden = nodes.length === 0;
}

element.querySelector(".history-forget").addEventListener("click", () => {
  store(load().filter((chat) => chat.page === ownPage));
  draw();
});
// Whether a chat is about the budget and the start that the address names. The server compares the frames themselves.
function isOfLink(media) {
  const named = new URLSearchParams(location.search), { budget, start } = fieldsOf(media);
  return !budget || (named.get("frames") === String(budget) && (named.get("start") ?? "") === start);
}

// Whether a chat is about the visitor's own file that was selected before a reload. The server compares the file itself.
function isReopened({ name, frames }) {
  const { fields: [video, picture, budget, ...range] } = selection.reopened();
  const { budget: asked, start, end } = fieldsOf({ frames });
  const typed = range.map((text) => text?.trim() ? formatTypedTime(parseTime(text)) : "");
  const isSame = !frames || (budget === asked && typed[0] === start && typed[1] === end);
  return isSame && (video ?? picture).path.split("/").at(-1) === name;
}

// A reload goes on with the chat of this tab: link.js and reload.js open what it is about.
function resumeAfterReload() {
  const [{ type } = {}] = performance.getEntriesByType("navigation");
  let last = null;
  try { last = sessionStorage.getItem(LAST_PAGE); } catch { /* storage is disabled */ }
  const chat = type === "reload" && load().find(({ page }) => page === last);
  if (!chat) return;
  try {
    const { media } = JSON.parse(chat.record);
    if (!media) return;
    const isOpen = selection.reopened() ? isReopened(media) : selection.isExample(media.sha256) && isOfLink(media);
    if (isOpen) pending = { record: chat.record, sha256: media.sha256, isReload: true };
  } catch { /* not one of this demo's records */ }
}

for (const name of ["drawn", "reopen"]) document.addEventListener(`longva:${name}`, resumeAfterReload);
document.addEventListener("longva:request-failed", () => { if (pending?.isReload) pending = null; });
document.addEventListener("longva:resume-failed", () => {
  const failed = continued;
  continued = "";
  draw([failed]);
});
document.addEventListener("longva:view", ({ detail: { view } }) => {
  if (!view || !pending) return;
  // Another example was picked instead. The server compares an own file.
  if (selection.exampleId() && !selection.isExample(pending.sha256)) pending = null; else resume();
});
watch("value", () => update(props.value));
box.open = window.wasRestarted || window.wasClosed;  // see stale_tab.js
draw();
