// What the player cannot do by itself. Where it shows no picture, a preview is asked for (event `need`), and takes the
// file's place in the player alone: the field's value stays the file. So with a picture that the browser cannot show.
// `props.value` is {ask, line, token?}; see preview.py.
const line = element.querySelector(".preview");
// So long may a picture take after the rest of the metadata, and the next sign of loading before any of it.
const PICTURE_MILLISECONDS = 1000, LOADING_MILLISECONDS = 8000;
let asks = 0, timer = null;

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
  const value = props.value, shown = value && document.querySelector(`[data-ask="${value.ask}"]`);
  if (!shown || shown.dataset.preview) return;
  show(value.line);
  if (!value.token) return;
  shown.dataset.preview = value.token;
  shown.src = `${window.gradio_config?.root || location.origin}/longva/preview/${value.token}`;
}

// Not every browser tells of a file that it cannot play: it may load it and say nothing, or play its sound alone.
function expectPicture(video, milliseconds) {
  clearTimeout(timer);
  const { currentSrc } = video;
  timer = setTimeout(() => {
    if (!video.isConnected || video.currentSrc !== currentSrc || video.videoWidth) return;
    // A page in the background and a phone that saves data load nothing until they are asked to.
    const isResting = document.hidden || (video.networkState === video.NETWORK_IDLE && !video.readyState);
    if (isResting) expectPicture(video, milliseconds); else fail(video);
  }, milliseconds);
}

// A picture came, perhaps after it was given up: what was said of it is taken back.
function succeed(video) {
  clearTimeout(timer);
  if (video.dataset.preview) return show(props.value?.line);
  delete video.dataset.ask;
  show("");
}

const scale = Object.assign(document.createElement("canvas"), { width: 16, height: 16 })
  .getContext("2d", { willReadFrequently: true });

// Puts white under a transparent film, as the model has it, and leaves the bars beside the film dark.
function whiten(video) {
  if (video.dataset.white || !video.videoWidth) return;
  scale.clearRect(0, 0, 16, 16);
  scale.drawImage(video, 0, 0, 16, 16);
  if (!scale.getImageData(0, 0, 16, 16).data.some((value, place) => place % 4 === 3 && value < 255)) return;
  video.dataset.white = true;
  const white = `<svg xmlns="http://www.w3.org/2000/svg" width="${video.videoWidth}" height="${video.videoHeight}">` +
    '<rect width="100%" height="100%" fill="white"/></svg>';
  video.style.backgroundImage = `url('data:image/svg+xml,${encodeURIComponent(white)}')`;
}

// As iPhones' photos (HEIC) in most browsers.
document.addEventListener("error", ({ target }) => {
  if (!target.matches?.("#picture img") || target.dataset.ask) return;
  target.dataset.ask = ++asks;
  trigger("need", { ask: asks });
}, true);

// Media events do not bubble: they are caught on the way down, errors before Gradio covers the player with them.
const onPlayer = (name, act) => document.addEventListener(name, (event) => {
  if (isPlayer(event.target)) act(event.target, event);
}, true);
onPlayer("error", (video, event) => {
  clearTimeout(timer);
  event.stopImmediatePropagation();
  fail(video);
});
onPlayer("loadstart", (video) => {
  if (!video.dataset.ask) show("");
  // No browser plays a GIF as a video, and some wait for it for ever.
  if (/\.gif$/i.test(video.currentSrc)) fail(video); else expectPicture(video, LOADING_MILLISECONDS);
});
onPlayer("progress", (video) => { if (!video.readyState) expectPicture(video, LOADING_MILLISECONDS); });
onPlayer("loadedmetadata", (video) => { if (!video.videoWidth) expectPicture(video, PICTURE_MILLISECONDS); });
onPlayer("resize", (video) => { if (video.videoWidth) succeed(video); });
for (const name of ["loadeddata", "timeupdate"]) onPlayer(name, whiten);
document.addEventListener("longva:turned", ({ detail: field }) => {
  if (field === "video") return;
  clearTimeout(timer);
  show("");
});
watch("value", draw);
