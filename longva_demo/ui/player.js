// What the player cannot do by itself. Where it shows no picture, a preview is asked for (event `need`), and takes the
// file's place in the player alone: the field's value stays the file. `props.value` is {ask, line, token?}; see
// preview.py.
const line = element.querySelector(".preview");
let asks = 0;

const isPlayer = (target) => target.matches?.("#player video");

// Shows a line of the catalogues, or none.
function show(key) {
  line.textContent = key ? say(key) : "";
  line.hidden = !key;
}

// Gradio makes a new element for each file, which carries the number under which its preview was asked for.
function fail(video) {
  if (video.dataset.preview) return show("preview.helpless");
  if (video.dataset.ask) return;
  video.dataset.ask = ++asks;
  show("preview.waiting");
  trigger("need", { ask: asks });
}

function draw() {
  const value = props.value, video = value && document.querySelector(`#player video[data-ask="${value.ask}"]`);
  if (!video || video.dataset.preview) return;
  show(value.line);
  if (!value.token) return;
  video.dataset.preview = value.token;
  video.src = `${window.gradio_config?.root || location.origin}/longva/preview/${value.token}`;
}

// Media events do not bubble: they are caught on the way down, errors before Gradio covers the player with them.
document.addEventListener("error", (event) => {
  if (!isPlayer(event.target)) return;
  event.stopImmediatePropagation();
  fail(event.target);
}, true);
document.addEventListener("loadedmetadata", (event) => {
  if (isPlayer(event.target) && !event.target.videoWidth) fail(event.target);  // only its sound can be played
}, true);
document.addEventListener("loadstart", (event) => {
  if (isPlayer(event.target) && !event.target.dataset.ask) show("");
}, true);
document.addEventListener("longva:turned", ({ detail: field }) => { if (field !== "video") show(""); });
watch("value", draw);
