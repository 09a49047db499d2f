// The search line above the track and the ranges below it. Asks the server with `onSearch(query)`, `onStop()` and
// `onSave(format)`. `onCloser(start, end)` spends the budget on a range. `onChange()`: the curve must be painted again.
function createSearch({ element, onSearch, onStop, onSave, onCloser, onChange }) {
  const form = element.querySelector(".find"), field = form.querySelector("input");
  const [startButton, stopButton] = form.querySelectorAll("button");
  const results = element.querySelector(".found"), state = results.querySelector(".found-state");
  const chips = results.querySelector(".found-ranges"), save = results.querySelector(".found-save");
  const MIN_DECIMALS_SECONDS = 10;  // shorter ranges are given in tenths
  let value = null, shownAt = 0;

  function makeButton(className, text, title, onClick) {
    const button = make("button", className, text);
    Object.assign(button, { type: "button", title });
    button.addEventListener("click", onClick);
    return button;
  }

  function ask(start, end) {
    onCloser(start, end);
    document.querySelector("#question textarea")?.focus();
  }

  function makeChip({ start, end, score, best }) {
    const decimals = end - start < MIN_DECIMALS_SECONDS ? 1 : 0, chip = make("li", "found-range");
    const span = { start: formatTime(start, decimals), end: formatTime(end, decimals) };
    const facts = { share: score, best: formatTime(best, 1) };
    const play = makeButton("found-play", say("timeline.span", span), say("find.play_title", facts), () => playFrom(start));
    const closer = makeButton("found-closer", say("find.closer"), say("find.closer_title"), () => onCloser(start, end));
    const question = makeButton("found-ask", say("find.ask"), say("find.ask_title"), () => ask(start, end));
    chip.append(play, closer, question);
    return chip;
  }

  function draw() {
    results.hidden = !value;
    startButton.hidden = Boolean(value?.running);
    stopButton.hidden = !value?.running;
    setText(state, value ? say(value.state) : "");
    save.hidden = !value || value.running || !value.frames.length;
    if (hasChanged(chips, "ranges", value?.ranges ?? [])) chips.replaceChildren(...(value?.ranges ?? []).map(makeChip));
    onChange();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) onSearch(field.value);
  });
  stopButton.addEventListener("click", onStop);
  for (const button of save.querySelectorAll("button"))
    button.addEventListener("click", () => onSave(button.dataset.format));

  return {
    curve: () => value,

    // The server's value; an update of an earlier search is ignored.
    show(newer) {
      if (!newer || newer.asked_at < shownAt) return;
      shownAt = newer.asked_at;
      value = newer;
      draw();
    },

    // Another file was chosen.
    clear() {
      shownAt = performance.now();
      value = null;
      field.value = "";
      draw();
    },
  };
}
