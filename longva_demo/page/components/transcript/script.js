// Draws the chat. `props.value` is {at, entries, returned}. Only entries that changed are redrawn. What people wrote is
// set with textContent, so it is never markup; `html` of an answer was sanitised by markdown.py.
const log = element.querySelector(".chat-log");
const turns = element.querySelector(".chat-turns");
const waiting = element.querySelector(".chat-waiting");
const empty = element.querySelector(".chat-empty");
const tools = element.querySelector(".chat-tools");
const drawn = [];  // the entries as they were drawn, as JSON
let drawnAt = 0, returnedAt = 0;  // updates may arrive out of order: the newest one stays
let drawnHeat = "";
let isScrolledUp = false;  // whether the visitor has scrolled up since the last question

function makeTurn() {
  const node = make("article", "turn");
  const answers = make("div", "answers");
  answers.append(make("div", "answer"));
  node.append(make("p", "question"), make("div", "status"), answers, make("p", "stats"), make("div", "tools"));
  return node;
}

// Gradio looks for the events' names, in quotes, in this file.
const checkEvents = {
  blind: (number) => trigger("blind", { number }),
  compare: (number) => trigger("compare", { number }),
};

const openMachine = () => document.dispatchEvent(new CustomEvent("longva:machine"));

function makeTools(node, entry, number) {
  const forNewest = !entry.tools ? [] : [
    makeTool("retry", () => trigger("retry")),
    makeTool("edit", () => startEdit(node)),
    makeTool("undo", () => trigger("undo")),
    makeTool("copy", (button) => copyFrom(button, entry.answer)),
  ];
  const checks = (entry.checks || []).map((name) => makeTool(name, () => checkEvents[name](number)));
  return [...(entry.is_refusal ? [makeTool("machine", openMachine)] : []), ...forNewest, ...checks];
}

// The times in an answer are buttons (markdown.py), which show that moment while its video is selected.
function enableMoments(node, isElsewhere) {
  for (const button of node.querySelectorAll(".moment, .attribution-frame, .line")) button.disabled = isElsewhere;
  for (const button of node.querySelectorAll(".moment")) button.title = say("answer.moment_title");
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
    if (isSent && edit) { isScrolledUp = false; trigger("edit", { question: text || question.textContent }); }
    else if (isSent) draft.restore(text);  // the chat went on, so this is no longer the last question
  });
  question.replaceWith(area);
  area.focus();
}

// If the turn of an edited question is gone, the edited text moves to the question field.
function saveEdit(node) {
  const area = node.querySelector?.(".edit-area");
  if (area && area.value !== area.defaultValue) draft.restore(area.value.trim());
}

function drawEntry(node, entry, number) {
  if (entry.kind === "note") { setText(node, say(entry.text)); return; }
  const part = (name) => node.querySelector(`.${name}`);
  const isLive = entry.status !== undefined;
  const area = part("edit-area"), isEdited = area?.defaultValue === entry.question;
  if (area && !isEdited) { saveEdit(node); area.replaceWith(make("p", "question")); }
  if (!isEdited) setText(part("question"), entry.question);
  const answer = part("answer");
  if (hasChanged(node, "answer", [entry.html, isLive])) setAnswer(answer, entry.html, isLive);
  drawAttribution(node, entry);
  drawLines(node, entry);
  node.classList.toggle("live", isLive);
  const status = part("status");
  setText(status, entry.status ? say(entry.status) : "");
  status.style.setProperty("--progress", `${Math.round((entry.progress || 0) * 100)}%`);
  status.hidden = !entry.status;
  if (hasChanged(node, "tools", [entry.tools, entry.checks, entry.is_refusal]))
    part("tools").replaceChildren(...makeTools(node, entry, number));
  drawChecks(node, entry);
  enableMoments(node, Boolean(entry.is_elsewhere));
}

function setAnswer(node, html, isLive) {
  if (html || isLive) node.innerHTML = html; else node.textContent = say("answer.none");
}

function draw() {
  const { at = 0, entries = [], returned } = props.value || {};
  if (at < drawnAt) return;
  drawnAt = at;
  draft.confirm();
  entries.forEach((entry, i) => {
    const text = JSON.stringify(entry);
    if (drawn[i] === text) return;
    const kind = entry.kind === "note" ? "note" : "turn";
    let node = turns.children[i];
    if (!node || !node.classList.contains(kind)) {
      const fresh = kind === "note" ? make("p", "note") : makeTurn();
      if (node) { saveEdit(node); node.replaceWith(fresh); } else turns.append(fresh);
      node = fresh;
    }
    drawEntry(node, entry, i);
    drawn[i] = text;
  });
  while (turns.children.length > entries.length) { saveEdit(turns.lastChild); turns.lastChild.remove(); }
  drawn.length = entries.length;
  draft.setAnswering(entries.at(-1)?.status !== undefined);
  showEmpty();
  tools.hidden = entries.length === 0;
  if (!isScrolledUp) log.scrollTop = log.scrollHeight;
  announceAttention(entries.at(-1)?.heat ?? "");
  if (returned && returned.at > returnedAt) { returnedAt = returned.at; draft.restore(returned.question); }
}

function showEmpty() {
  empty.hidden = turns.childElementCount + waiting.childElementCount > 0;
}

// The newest answer's attention to each frame, 0 to 1, for the timeline and the frame browser; null if there is none.
function announceAttention(heat) {
  if (heat === drawnHeat) return;
  drawnHeat = heat;
  const weights = heat ? [...heat].map((digit) => Number(digit) / 9) : null;
  document.dispatchEvent(new CustomEvent("longva:attention", { detail: weights }));
}

// See stale_tab.js.
const restarted = element.querySelector(".chat-restarted"), closed = element.querySelector(".chat-closed");
restarted.hidden = !window.wasRestarted;
closed.hidden = !window.wasClosed;
document.addEventListener("longva:view", ({ detail: { view } }) => { if (view) restarted.hidden = closed.hidden = true; });
element.querySelector(".chat-clear").addEventListener("click", () => trigger("clear"));
for (const button of tools.querySelectorAll("[data-format]"))
  button.addEventListener("click", () => trigger("save", { format: button.dataset.format }));
log.addEventListener("click", ({ target }) => {
  if (target.matches(".moment")) showMoment(Number(target.dataset.seconds));
});
log.addEventListener("scroll", () => { isScrolledUp = log.scrollHeight - log.scrollTop - log.clientHeight >= 80; });
document.addEventListener("longva:asked", () => { isScrolledUp = false; log.scrollTop = log.scrollHeight; });
document.addEventListener("longva:waiting", ({ detail: questions }) => {
  if (!hasChanged(waiting, "waiting", questions)) return;
  drawWaiting(waiting, questions);
  showEmpty();
  if (!isScrolledUp) log.scrollTop = log.scrollHeight;
});
watch("value", draw);
draw();
