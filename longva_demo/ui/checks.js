// What stands under an answer: the same question without the video, and with other budgets.
// The names are in quotes since Gradio looks for them there.
const checks = {
  "blind": ["Blind check", "Ask the same question without the video: is the answer a guess?"],
  "compare": ["Compare budgets", "Ask the same question with 8, 32, 128 … frames: do more frames help?"],
};

function addChecks(box, entry, number) {
  for (const name of entry.checks || []) {
    const [label, title] = checks[name], button = make("button", "tool", label);
    button.type = "button";
    button.title = title;
    button.addEventListener("click", () => trigger(name, { number }));
    box.append(button);
  }
}

function progressLine(panel) {
  const line = make("div", "status", panel.status);
  line.style.setProperty("--progress", `${Math.round((panel.progress || 0) * 100)}%`);
  return line;
}

// Beside the answer, so that the two can be compared at a glance.
function drawBlind(answers, panel) {
  answers.querySelector(".blind")?.remove();
  answers.classList.toggle("two", Boolean(panel));
  if (!panel) return;
  const box = make("div", "blind");
  if (panel.status) box.append(progressLine(panel));
  else box.append(make("p", "blind-answer", panel.answer));
  if (panel.verdict) box.append(make("p", "verdict", panel.verdict));
  answers.append(box);
}

function drawComparison(node, panel) {
  node.querySelector(".comparison")?.remove();
  if (!panel) return;
  const box = make("div", "comparison"), table = make("table", "budgets");
  const row = (tag, cells) => {
    const line = table.insertRow();
    for (const cell of cells) line.append(make(tag, "", cell));
  };
  row("th", ["Frames", "Answer", "Time", "Tokens"]);
  for (const cells of panel.rows || []) row("td", cells);
  if (panel.rows?.length) box.append(table);
  if (panel.status) box.append(progressLine(panel));
  node.append(box);
}
