// What an answer drew on: chips under it, and the attention to each frame for the timeline and the frame browser.

function drawEvidence(node, entry) {
  const stats = node.querySelector(".stats");
  if (!hasChanged(node, "evidence", [entry.stats, entry.sure, entry.drawn])) return;
  stats.textContent = (entry.stats || []).map((line) => say(line)).join(" · ");
  if (entry.sure) {
    const word = make("span", "sure", say(`sure.${entry.sure.word}`));
    word.title = say("sure.title", { share: entry.sure.probability });
    word.tabIndex = 0;
    stats.append(" · ", word);
  }
  node.querySelector(".evidence")?.remove();
  if (!entry.drawn && !entry.unweighed) return;
  const box = make("div", "evidence");
  if (entry.unweighed) {
    box.append(make("p", "evidence-left-out", say(entry.unweighed)));
    stats.after(box);
    return;
  }
  box.append(make("p", "evidence-head", say(entry.drawn.length ? "evidence.head" : "evidence.none")));
  box.firstChild.title = say("evidence.title");
  for (const frame of entry.drawn) {
    const button = make("button", "evidence-frame"), picture = make("img", "");
    button.type = "button";
    const time = clock(frame.seconds, 1), figure = say("evidence.figure", { factor: frame.factor });
    button.title = figure;
    button.setAttribute("aria-label", say("evidence.label", { time, figure }));
    picture.src = frame.picture;
    picture.alt = "";
    button.append(picture, make("time", "", time));
    button.addEventListener("click", () => playFrom(frame.seconds));
    box.append(button);
  }
  stats.after(box);
}

// The newest answer's attention, 0 to 1 a frame; null where there is none.
let shownHeat = "";
function showHeat(entries) {
  const heat = entries.at(-1)?.heat ?? "";
  if (heat === shownHeat) return;
  shownHeat = heat;
  const weights = heat ? [...heat].map((digit) => Number(digit) / 9) : null;
  document.dispatchEvent(new CustomEvent("longva:weights", { detail: weights }));
}
