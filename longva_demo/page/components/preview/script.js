// Where the browser cannot play a video or show a picture, the server makes a preview (event "need"). The preview takes
// the file's place in the player only: the field's value remains the file. `props.value` is {ask, line, token?}; see
// preview/__init__.py.
const line = element.querySelector(".preview");
// How long the first picture may take after the metadata, and the next sign of loading before them.
const PICTURE_MS = 1000, LOADING_MS = 8000;
let numAsks = 0, timer = null;

const isPlayer = (target) => target.matches?.(PLAYER);

function showLine(message) {
  line.textContent = message ? say(message) : "";
  line.hidden = !message;
}

function requestPreview(node) {
  node.dataset.ask = ++numAsks;
  trigger("need", { ask: numAsks });
}

// Gradio makes a new element for each file; its `data-ask` is the number of its request for a preview.
function fail(video) {
  if (video.dataset.preview) { showLine("preview.helpless"); return; }
  if (video.dataset.ask) return;
  showLine("preview.waiting");
  requestPreview(video);
}

function draw() {
  const { value } = props, shown = value && document.querySelector(`[data-ask="${value.ask}"]`);
  if (!shown || shown.dataset.preview) return;
  showLine(value.line);
  if (!value.token) return;
  shown.dataset.preview = value.token;
  shown.src = serverUrl(`/longva/preview/${value.token}`);
}

// Some browsers report no error for a file that they cannot play: they load it silently, or play only its sound.
function expectPicture(video, milliseconds) {
  clearTimeout(timer);
  const { currentSrc } = video;
  timer = setTimeout(() => {
    if (!video.isConnected || video.currentSrc !== currentSrc || video.videoWidth) return;
    // A background tab, and a phone that saves data, load nothing until asked to.
    const isIdle = document.hidden || (video.networkState === video.NETWORK_IDLE && !video.readyState);
    if (isIdle) expectPicture(video, milliseconds); else fail(video);
  }, milliseconds);
}

// A picture arrived, perhaps after the wait for it had ended.
function succeed(video) {
  clearTimeout(timer);
  if (video.dataset.preview) { showLine(props.value?.line); return; }
  delete video.dataset.ask;
  showLine("");
}

const canvas = Object.assign(document.createElement("canvas"), { width: 16, height: 16 })
  .getContext("2d", { willReadFrequently: true });

// Puts white behind a transparent video, as the model sees it, but not behind the bars beside it.
function whiten(video) {
  if (video.dataset.white || !video.videoWidth) return;
  canvas.clearRect(0, 0, 16, 16);
  canvas.drawImage(video, 0, 0, 16, 16);
  if (!canvas.getImageData(0, 0, 16, 16).data.some((value, place) => place % 4 === 3 && value < 255)) return;
  video.dataset.white = true;
  const white = `<svg xmlns="http://www.w3.org/2000/svg" width="${video.videoWidth}" height="${video.videoHeight}">` +
    '<rect width="100%" height="100%" fill="white"/></svg>';
  video.style.backgroundImage = `url('data:image/svg+xml,${encodeURIComponent(white)}')`;
}

// Most browsers cannot show iPhones' photos (HEIC).
document.addEventListener("error", ({ target }) => {
  if (target.matches?.(PICTURE) && !target.dataset.ask) requestPreview(target);
}, true);

// Media events do not bubble, so they are captured; errors before Gradio covers the player with them.
const onPlayer = (name, onEvent) => document.addEventListener(name, (event) => {
  if (isPlayer(event.target)) onEvent(event.target, event);
}, true);
onPlayer("error", (video, event) => {
  clearTimeout(timer);
  event.stopImmediatePropagation();
  fail(video);
});
onPlayer("loadstart", (video) => {
  if (!video.dataset.ask) showLine("");
  // No browser plays a GIF as a video, and some wait for it forever.
  if (/\.gif$/i.test(video.currentSrc)) fail(video); else expectPicture(video, LOADING_MS);
});
onPlayer("progress", (video) => { if (!video.readyState) expectPicture(video, LOADING_MS); });
onPlayer("loadedmetadata", (video) => { if (!video.videoWidth) expectPicture(video, PICTURE_MS); });
onPlayer("resize", (video) => { if (video.videoWidth) succeed(video); });
for (const name of ["loadeddata", "timeupdate"]) onPlayer(name, whiten);
document.addEventListener("longva:file-changed", ({ detail: field }) => {
  if (field === "video") return;
  clearTimeout(timer);
  showLine("");
});
watch("value", draw);
