// What an answer drew on: chips under it, and the attention to each frame for the timeline and the frame browser.

function drawAttribution(node, entry) {
  const stats = node.querySelector(".stats");
  if (!hasChanged(node, "attribution", [entry.stats, entry.sure, entry.drawn])) return;
  stats.textContent = (entry.stats || []).map((line) => say(line)).join(" · ");
  if (entry.sure) {
    const word = make("span", "sure", say(`sure.${entry.sure.word}`));
    word.title = say("sure.title", { share: entry.sure.probability });
    word.tabIndex = 0;
    stats.append(" · ", word);
  }
  node.querySelector(".attribution")?.remove();
  if (!entry.drawn && !entry.unweighed) return;
  const box = make("div", "attribution");
  if (entry.unweighed) {
    box.append(make("p", "attribution-left-out", say(entry.unweighed)));
    stats.after(box);
    return;
  }
  box.append(make("p", "attribution-head", say(entry.drawn.length ? "attribution.head" : "attribution.none")));
  box.firstChild.title = say("attribution.title");
  for (const frame of entry.drawn) {
    const button = make("button", "attribution-frame"), picture = make("img", "");
    button.type = "button";
    const time = formatTime(frame.seconds, 1), figure = say("attribution.figure", { factor: frame.factor });
    button.title = figure;
    button.setAttribute("aria-label", say("attribution.label", { time, figure }));
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
