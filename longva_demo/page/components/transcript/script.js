// Draws the chat. `props.value` is a list of entries; only entries that changed are touched, and everything that
// people or the model wrote goes in through textContent, so that it is text whatever it looks like.
const log = element.querySelector(".chat-log");
const turns = element.querySelector(".chat-turns");
const empty = element.querySelector(".chat-empty");
element.querySelector(".chat-restarted").hidden = !window.wasRestarted;  // restart.js
element.querySelector(".chat-closed").hidden = !window.wasClosed;
const keep = element.querySelector(".chat-keep");
element.querySelector(".chat-clear").addEventListener("click", () => trigger("clear"));
for (const button of keep.querySelectorAll("[data-format]"))
  button.addEventListener("click", () => trigger("save", { format: button.dataset.format }));
let seen = [];

function newTurn() {
  const node = make("article", "turn");
  const answers = make("div", "answers");
  answers.append(make("p", "answer"));
  node.append(make("p", "question"), make("div", "status"), answers, make("p", "stats"), make("div", "tools"));
  return node;
}

function addTools(node, box) {
  box.append(
    makeTool("retry", () => trigger("retry")),
    makeTool("edit", () => startEdit(node)),
    makeTool("undo", () => trigger("undo")),
    makeTool("copy", () => copyText(node.querySelector(".answer").textContent)),
  );
}

function startEdit(node) {
  const open = node.querySelector(".edit-area");
  if (open) { open.focus(); return; }
  const question = node.querySelector(".question"), area = make("textarea", "edit-area");
  area.defaultValue = question.textContent;
  area.setAttribute("aria-label", say("edit.label"));
  area.addEventListener("keydown", (event) => {
    const isSent = event.key === "Enter" && !event.shiftKey, text = area.value.trim();
    if (event.key !== "Escape" && !isSent) return;
    event.preventDefault();
    area.replaceWith(question);
    const edit = node.querySelector("[data-tool=edit]");
    (isSent || !edit ? log : edit).focus({ preventScroll: true });
    if (isSent && edit) { isAway = false; trigger("edit", { question: text || question.textContent }); }
    else if (isSent) restore(text);  // the chat went on: it is no longer the last question
  });
  question.replaceWith(area);
  area.focus();
}

// A question that was being edited goes to the field where its turn is no longer there.
function saveEdit(node) {
  const area = node.querySelector?.(".edit-area");
  if (area && area.value !== area.defaultValue) restore(area.value.trim());
}

function fill(node, entry, number) {
  if (entry.kind === "note") { write(node, say(entry.text)); return; }
  const part = (name) => node.querySelector(`.${name}`);
  const live = entry.status !== undefined;
  const area = part("edit-area"), isKept = area?.defaultValue === entry.question;
  if (area && !isKept) { saveEdit(node); area.replaceWith(make("p", "question")); }
  if (!isKept) write(part("question"), entry.question);
  write(part("answer"), entry.answer || (live ? "" : say("answer.none")));
  drawAttribution(node, entry);
  node.classList.toggle("live", live);
  const status = part("status");
  write(status, entry.status ? say(entry.status) : "");
  status.style.setProperty("--progress", `${Math.round((entry.progress || 0) * 100)}%`);
  status.hidden = !entry.status;
  const box = part("tools");
  if (hasChanged(node, "tools", [entry.tools, entry.checks])) {
    box.replaceChildren();
    if (entry.tools) addTools(node, box);
    addChecks(box, entry, number);
  }
  drawBlind(part("answers"), entry.blind);
  drawComparison(node, entry.compare);
}

// Two updates may come in another order than they were made: the newer one stays.
let shownAt = 0, returnedAt = 0;
function draw() {
  const { at = 0, entries = [], returned: back } = props.value || {};
  if (at < shownAt) return;
  shownAt = at;
  wasHeard();
  entries.forEach((entry, i) => {
    const text = JSON.stringify(entry);
    if (seen[i] === text) return;
    const kind = entry.kind === "note" ? "note" : "turn";
    let node = turns.children[i];
    if (!node || !node.classList.contains(kind)) {
      const fresh = kind === "note" ? make("p", "note") : newTurn();
      if (node) saveEdit(node);
      node ? node.replaceWith(fresh) : turns.append(fresh);
      node = fresh;
    }
    fill(node, entry, i);
    seen[i] = text;
  });
  while (turns.children.length > entries.length) { saveEdit(turns.lastChild); turns.lastChild.remove(); }
  seen.length = entries.length;
  empty.hidden = entries.length > 0;
  keep.hidden = entries.length === 0;
  if (!isAway) log.scrollTop = log.scrollHeight;
  showHeat(entries);
  if (back && back.at > returnedAt) { returnedAt = back.at; restore(back.question); }
}

// The newest words stay in sight, unless the visitor has scrolled up since the last question.
let isAway = false;
log.addEventListener("scroll", () => { isAway = log.scrollHeight - log.scrollTop - log.clientHeight >= 80; });
document.addEventListener("longva:asked", () => { isAway = false; log.scrollTop = log.scrollHeight; });
watch("value", draw);
draw();
