// The checks of an answer: the same question without the video, beside the answer, and with other budgets, below it.
function drawChecks(node, entry) {
  drawBlind(node.querySelector(".answers"), entry.blind);
  drawComparison(node, entry.compare);

  // Scrolls to a panel that has just opened, if the visitor is still where it was asked for.
  function showNew(box, isNew) {
    const log = node.closest(".chat-log").getBoundingClientRect(), tools = node.querySelector(".tools");
    const { top, bottom } = tools.getBoundingClientRect();
    if (isNew && bottom > log.top && top < log.bottom) box.scrollIntoView({ block: "nearest" });
  }

  function makeStatus(panel) {
    const line = make("div", "status", say(panel.status));
    line.style.setProperty("--progress", `${Math.round((panel.progress || 0) * 100)}%`);
    return line;
  }

  function makeAnswer(html) {
    const answer = make("div", "blind-answer", say("answer.none"));
    if (html) answer.innerHTML = html;
    return answer;
  }

  function drawBlind(answers, panel) {
    if (!hasChanged(answers, "blind", panel)) return;
    const isNew = !answers.querySelector(".blind");
    answers.querySelector(".blind")?.remove();
    answers.classList.toggle("two", Boolean(panel));
    if (!panel) return;
    const box = make("div", "blind");
    answers.firstChild.dataset.label = say("blind.with");
    box.dataset.label = say("blind.without");
    if (panel.status) box.append(makeStatus(panel));
    else box.append(makeAnswer(panel.html));
    if (panel.verdict) box.append(make("p", "verdict", say(panel.verdict)));
    answers.append(box);
    showNew(box, isNew);
  }

  function drawComparison(turn, panel) {
    if (!hasChanged(turn, "comparison", panel)) return;
    const isNew = !turn.querySelector(".comparison");
    turn.querySelector(".comparison")?.remove();
    if (!panel) return;
    const box = make("div", "comparison"), table = make("table", "budgets");
    const addRow = (tag, cells) => {
      const row = table.insertRow();
      for (const cell of cells) row.append(make(tag, "", cell));
    };
    addRow("th", ["frames", "answer", "time", "tokens"].map((name) => say(`compare.${name}`)));
    const nameOf = ({ frames: budget, windows: count, without_lines: isBare }) => {
      if (count > 1) return say("compare.windows", { budget, count });
      if (isBare) return say("compare.without_lines", { budget });
      return budget === panel.present ? say("compare.present", { budget }) : formatNumber(budget);
    };
    for (const row of panel.rows || []) {
      const { answer, duration, tokens } = row, name = nameOf(row), time = formatSlot("duration", duration);
      addRow("td", [name, answer || say("answer.none"), time, formatNumber(tokens)]);
    }
    if (panel.rows?.length) box.append(table);
    if (panel.status) box.append(makeStatus(panel));
    else if (panel.note) box.append(make("p", "comparison-note", say(panel.note)));
    turn.append(box);
    showNew(box, isNew);
  }
}
