// The scenes of the video: a click on the time plays it, "ask" spends the budget on the scene and goes to the question.
const start = element.querySelector(".scenes-start"), stop = element.querySelector(".scenes-stop");
const state = element.querySelector(".scenes-state"), list = element.querySelector(".scenes-list");
const save = element.querySelector(".scenes-save");
let shownAt = 0;

function makeButton(className, text, title, onClick) {
  const button = make("button", className, text);
  Object.assign(button, { type: "button", title });
  button.addEventListener("click", onClick);
  return button;
}

function play(seconds) {
  document.querySelector("#video-tab-button")?.click();
  playFrom(seconds);
}

function ask({ start: from, end }) {
  document.querySelector("#video-tab-button")?.click();
  document.dispatchEvent(new CustomEvent("longva:range", { detail: { start: from, end } }));
  document.querySelector("#question textarea")?.focus();
}

function makeItem(scene) {
  const item = make("li", "scene");
  item.append(
    makeButton("scene-play", formatTime(scene.start), say("chapters.play_title"), () => play(scene.start)),
    make("span", "scene-title", scene.title),
    makeButton("scene-ask", say("find.ask"), say("find.ask_title"), () => ask(scene)),
  );
  return item;
}

function draw(value) {
  start.hidden = Boolean(value?.running);
  stop.hidden = !value?.running;
  setText(state, value ? say(value.state) : "");
  save.hidden = !value?.chapters.length || value.running;
  const scenes = value?.chapters ?? [];
  if (scenes.length < list.children.length) list.replaceChildren();
  list.append(...scenes.slice(list.children.length).map(makeItem));
}

start.addEventListener("click", () => trigger("start"));
stop.addEventListener("click", () => trigger("stop"));
for (const button of save.querySelectorAll("button"))
  button.addEventListener("click", () => trigger("save", { format: button.dataset.format }));
document.addEventListener("longva:file-changed", () => { shownAt = performance.now(); draw(null); });
watch("value", () => {
  const { value } = props;
  if (!value || value.asked_at < shownAt) return;  // of an earlier start, or of another file
  if (value.asked_at > shownAt) list.replaceChildren();
  shownAt = value.asked_at;
  draw(value);
});
