// What an answer drew on: chips under it, and the attention to each frame for the timeline and the frame browser.
const ABOUT = "Hiding one of these frames makes the answer clearly less likely. It does not prove that the answer is right.";

function drawEvidence(node, entry) {
  const stats = node.querySelector(".stats");
  if (entry.sure) {
    const word = make("span", "sure", entry.sure.word);
    word.title = entry.sure.figure;
    word.tabIndex = 0;
    stats.append(" · ", word);
  }
  node.querySelector(".evidence")?.remove();
  if (!entry.drawn) return;
  const box = make("div", "evidence");
  box.append(make("p", "evidence-head", entry.drawn.length ? "Frames the answer drew on" : "No single frame stands out."));
  box.firstChild.title = ABOUT;
  for (const frame of entry.drawn) {
    const button = make("button", "evidence-frame"), picture = make("img", "");
    button.type = "button";
    button.title = frame.figure;
    button.setAttribute("aria-label", `${frame.time}: ${frame.figure}`);
    picture.src = frame.picture;
    picture.alt = "";
    button.append(picture, make("time", "", frame.time));
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
