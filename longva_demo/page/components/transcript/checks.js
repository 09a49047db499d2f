// What stands under an answer: the same question without the video, and with other budgets.
// The events stand here in quotes since Gradio looks for their names in a script.
const EVENTS = ["blind", "compare"];

function addChecks(box, entry, number) {
  for (const name of entry.checks || []) {
    box.append(makeTool(name, () => trigger(name, { number })));
  }
}

function progressLine(panel) {
  const line = make("div", "status", say(panel.status));
  line.style.setProperty("--progress", `${Math.round((panel.progress || 0) * 100)}%`);
  return line;
}

// Beside the answer, so that the two can be compared at a glance.
function drawBlind(answers, panel) {
  if (!hasChanged(answers, "blind", panel)) return;
  answers.querySelector(".blind")?.remove();
  answers.classList.toggle("two", Boolean(panel));
  if (!panel) return;
  const box = make("div", "blind");
  answers.firstChild.dataset.label = say("blind.with");
  box.dataset.label = say("blind.without");
  if (panel.status) box.append(progressLine(panel));
  else box.append(make("p", "blind-answer", panel.answer || say("answer.none")));
  if (panel.verdict) box.append(make("p", "verdict", say(panel.verdict)));
  answers.append(box);
}

function drawComparison(node, panel) {
  if (!hasChanged(node, "comparison", panel)) return;
  node.querySelector(".comparison")?.remove();
  if (!panel) return;
  const box = make("div", "comparison"), table = make("table", "budgets");
  const row = (tag, cells) => {
    const line = table.insertRow();
    for (const cell of cells) line.append(make(tag, "", cell));
  };
  row("th", ["frames", "answer", "time", "tokens"].map((name) => say(`compare.${name}`)));
  for (const { frames, answer, duration, tokens } of panel.rows || [])
    row("td", [numeral(frames), answer || say("answer.none"), written("duration", duration), numeral(tokens)]);
  if (panel.rows?.length) box.append(table);
  if (panel.status) box.append(progressLine(panel));
  node.append(box);
}
