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
  const question = node.querySelector(".question"), area = make("textarea", "edit-area");
  area.defaultValue = question.textContent;
  area.setAttribute("aria-label", say("edit.label"));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") area.replaceWith(question);
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    const text = area.value.trim();
    area.replaceWith(question);
    if (text) trigger("edit", { question: text });
  });
  question.replaceWith(area);
  area.focus();
}

function fill(node, entry, number) {
  if (entry.kind === "note") { node.textContent = say(entry.text); return; }
  const part = (name) => node.querySelector(`.${name}`);
  const live = entry.status !== undefined;
  const area = part("edit-area");
  const isKept = area && !live && area.defaultValue === entry.question;  // what came is only its evidence or a check
  if (area && !isKept) area.replaceWith(make("p", "question"));
  if (!isKept) part("question").textContent = entry.question;
  part("answer").textContent = entry.answer || (live ? "" : say("answer.none"));
  part("stats").textContent = (entry.stats || []).map((line) => say(line)).join(" · ");
  drawEvidence(node, entry);
  node.classList.toggle("live", live);
  const status = part("status");
  status.textContent = entry.status ? say(entry.status) : "";
  status.style.setProperty("--progress", `${Math.round((entry.progress || 0) * 100)}%`);
  status.hidden = !entry.status;
  const box = part("tools");
  box.replaceChildren();
  if (entry.tools) addTools(node, box);
  addChecks(box, entry, number);
  drawBlind(part("answers"), entry.blind);
  drawComparison(node, entry.compare);
}

function draw() {
  const entries = props.value || [];
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < 80 || entries.length > seen.length;
  entries.forEach((entry, i) => {
    const text = JSON.stringify(entry);
    if (seen[i] === text) return;
    const kind = entry.kind === "note" ? "note" : "turn";
    let node = turns.children[i];
    if (!node || !node.classList.contains(kind)) {
      const fresh = kind === "note" ? make("p", "note") : newTurn();
      node ? node.replaceWith(fresh) : turns.append(fresh);
      node = fresh;
    }
    fill(node, entry, i);
    seen[i] = text;
  });
  while (turns.children.length > entries.length) turns.lastChild.remove();
  seen.length = entries.length;
  empty.hidden = entries.length > 0;
  keep.hidden = entries.length === 0;
  if (following) log.scrollTop = log.scrollHeight;
  showHeat(entries);
}

watch("value", draw);
draw();
