// The checks of an answer: the same question without the video, beside the answer, and with other budgets, below it.
function drawChecks(node, entry) {
  drawBlind(node.querySelector(".answers"), entry.blind);
  drawComparison(node, entry.compare);

  function makeStatus(panel) {
    const line = make("div", "status", say(panel.status));
    line.style.setProperty("--progress", `${Math.round((panel.progress || 0) * 100)}%`);
    return line;
  }

  function drawBlind(answers, panel) {
    if (!hasChanged(answers, "blind", panel)) return;
    answers.querySelector(".blind")?.remove();
    answers.classList.toggle("two", Boolean(panel));
    if (!panel) return;
    const box = make("div", "blind");
    answers.firstChild.dataset.label = say("blind.with");
    box.dataset.label = say("blind.without");
    if (panel.status) box.append(makeStatus(panel));
    else box.append(make("p", "blind-answer", panel.answer || say("answer.none")));
    if (panel.verdict) box.append(make("p", "verdict", say(panel.verdict)));
    answers.append(box);
  }

  function drawComparison(turn, panel) {
    if (!hasChanged(turn, "comparison", panel)) return;
    turn.querySelector(".comparison")?.remove();
    if (!panel) return;
    const box = make("div", "comparison"), table = make("table", "budgets");
    const addRow = (tag, cells) => {
      const row = table.insertRow();
      for (const cell of cells) row.append(make(tag, "", cell));
    };
    addRow("th", ["frames", "answer", "time", "tokens"].map((name) => say(`compare.${name}`)));
    for (const { frames, answer, duration, tokens } of panel.rows || []) {
      const time = formatSlot("duration", duration);
      addRow("td", [formatNumber(frames), answer || say("answer.none"), time, formatNumber(tokens)]);
    }
    if (panel.rows?.length) box.append(table);
    if (panel.status) box.append(makeStatus(panel));
    turn.append(box);
  }
}
