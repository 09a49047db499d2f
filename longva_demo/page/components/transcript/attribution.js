// Below an answer: its figures, how sure the model was, and the frames that the answer relied on.
function drawAttribution(node, entry) {
  const stats = node.querySelector(".stats");
  if (!hasChanged(node, "attribution", [entry.stats, entry.sure, entry.used_frames, entry.skipped])) return;
  stats.textContent = (entry.stats || []).map((message) => say(message)).join(" · ");
  if (entry.sure) stats.append(" · ", makeSureness(entry.sure));
  node.querySelector(".attribution")?.remove();
  if (!entry.used_frames && !entry.skipped) return;
  const box = make("div", "attribution"), way = entry.first_seen ? "first_" : "";
  if (entry.skipped) {
    box.append(make("p", "attribution-skipped", say(entry.skipped)));
  } else {
    const text = entry.used_frames.length ? `attribution.${way}head` : "attribution.none";
    const head = make("p", "attribution-head", say(text));
    head.title = say(`attribution.${way}title`);
    box.append(head, ...entry.used_frames.map(makeFrame));
  }
  stats.after(box);

  function makeSureness({ word, probability }) {
    const sureness = make("span", "sure", say(`sure.${word}`));
    sureness.title = say("sure.title", { share: probability });
    sureness.tabIndex = 0;
    return sureness;
  }

  function makeFrame({ seconds, factor, picture }) {
    const button = make("button", "attribution-frame"), image = make("img", "");
    const time = formatTime(seconds, 1), figure = say(`attribution.${way}figure`, { factor });
    button.type = "button";
    button.title = figure;
    button.setAttribute("aria-label", say("attribution.label", { time, figure }));
    Object.assign(image, { src: picture, alt: "" });
    button.append(image, make("time", "", time));
    button.addEventListener("click", () => showMoment(seconds));
    return button;
  }
}
