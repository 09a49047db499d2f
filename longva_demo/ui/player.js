// What the player cannot do by itself. Where it shows no picture, a preview is asked for (event `need`), and takes the
// file's place in the player alone: the field's value stays the file. `props.value` is {ask, line, token?}; see
// preview.py. And it lets the player's field take every kind of file that has moving pictures.
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
  const value = props.value, video = value && document.querySelector(`#player video[data-ask="${value.ask}"]`);
  if (!video || video.dataset.preview) return;
  show(value.line);
  if (!value.token) return;
  video.dataset.preview = value.token;
  video.src = `${window.gradio_config?.root || location.origin}/longva/preview/${value.token}`;
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
watch("value", draw);

// Gradio takes only files that the system calls video/…: never a GIF, and on many systems no .mkv, .ts or .mxf either.
const OTHERS = ("gif apng mkv avi flv f4v ts mts m2ts mpg mpeg vob wmv asf mxf ogv rm nut ivf dv gxf wtv y4m " +
  "h264 264 hevc h265 265").split(" ");

// The same files, those with such names as videos; null where there is none.
function asVideos(files) {
  const kept = new DataTransfer();
  let changed = false;
  for (const file of files) {
    const kind = file.name.split(".").pop().toLowerCase();
    const other = !file.type.startsWith("video/") && OTHERS.includes(kind);
    kept.items.add(other ? new File([file], file.name, { type: `video/x-${kind}` }) : file);
    changed ||= other;
  }
  return changed ? kept.files : null;
}

const isChooser = (target) => target.matches?.("#player input[type=file]");
document.addEventListener("click", (event) => {
  if (isChooser(event.target)) event.target.accept = ["video/*", ...OTHERS.map((kind) => `.${kind}`)].join(",");
}, true);
document.addEventListener("change", (event) => {
  const files = isChooser(event.target) && asVideos(event.target.files);
  if (files) event.target.files = files;
}, true);
document.addEventListener("drop", (event) => {
  const chooser = event.target.closest?.("#player")?.querySelector("input[type=file]");
  const files = chooser && asVideos(event.dataTransfer.files);
  if (!files) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  chooser.files = files;
  chooser.dispatchEvent(new Event("change", { bubbles: true }));
}, true);
