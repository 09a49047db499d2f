// Draws the sampled frames. `props.value` is {token, total, …}. The sheets are fetched as a stream and drawn as they
// arrive: each adds buttons and never redraws earlier ones. A sheet becomes one blob URL, of which each frame shows its
// part by background-position.
const list = element.querySelector(".film-frames");
const film = element.querySelector(".film");
const state = element.querySelector(".film-state");
const bar = element.querySelector(".film-bar i");
film.tabIndex = -1;  // takes the focus while the focused frame is replaced
const links = [...element.querySelectorAll(".film-foot a")];
// A longer task would delay scrolling and typing.
const SLICE_MS = 12;
// The time left is shown once frames have arrived for so long, as in progress.py.
const SECONDS_BEFORE_ESTIMATE = 2;
let token = null, total = 0;  // of the sampled view that is shown
let urls = [], frames = [], current = -1, decimals = 0;
let isSameFile = false;  // whether the frames that arrive are of the video whose frames are shown
let shownAt = 0;  // when the shown selection was requested
let samplingAt = 0;  // when the shown view's frames were first fetched
let left = null;  // where the visitor was in the frames that were replaced: {seconds, hasFocus}

const template = document.createElement("li");
template.innerHTML = '<button type="button" tabindex="-1"><span class="film-picture"></span>' +
  '<span class="film-edge"><b></b><time></time></span></button>';

const announce = (name, detail) => document.dispatchEvent(new CustomEvent(`longva:${name}`, { detail }));

const indexOf = (node) => {
  const item = node.closest?.(".film-frames > li");
  return item ? Array.prototype.indexOf.call(list.children, item) : -1;
};

const loupe = createLoupe({
  element, list, getFrame: (index) => frames[index], indexOf, paint, onCloser: lookCloser,
  sharpUrl: ({ index }) =>
    film.dataset.state === "done" ? serverUrl(`/longva/frames/${token}/frame/${index}.jpg`) : null,
});
const fetcher = createSheetFetcher({
  onSheet: addSheet,
  onProgress: (done) => { show("sampling", done); restorePlace(false); },
  onDone: () => { show("done"); restorePlace(true); },
  onFailure: () => show("failed"),
});

function reset() {
  savePlace();
  urls.forEach((url) => URL.revokeObjectURL(url));
  loupe.close();
  list.replaceChildren();
  urls = []; frames = []; current = -1;
  film.classList.remove("attributed");
}

// Shows a frame's part of its sheet in `node`.
function paint(node, { sheet, column, row }) {
  const { url, columns, rows, width, height } = sheet;
  node.style.cssText = `background-image:url(${url});background-size:${columns * 100}% ${rows * 100}%;` +
    `background-position:${columns > 1 ? column / (columns - 1) * 100 : 0}% ` +
    `${rows > 1 ? row / (rows - 1) * 100 : 0}%;aspect-ratio:${width}/${height}`;
}

function makeItem(frame, number) {
  const item = template.cloneNode(true), button = item.firstChild;
  const [picture, edge] = button.children;
  paint(picture, frame);
  if (frame.seconds === undefined) {
    button.disabled = true;
    button.setAttribute("aria-label", say("film.picture"));
    edge.remove();
  } else {
    button.dataset.seconds = frame.seconds;
    button.setAttribute("aria-label", say("film.sample", { number, time: label(frame.seconds) }));
    edge.firstChild.textContent = formatNumber(number);
    edge.lastChild.textContent = label(frame.seconds);
  }
  // Arrow keys move between frames; Tab enters and leaves the whole list.
  if (number === 1) button.tabIndex = 0;
  return item;
}

// Tenths tell neighbours apart that are less than a second apart.
const label = (seconds) => formatTime(seconds, decimals);

async function addSheet(facts, jpeg, isWanted) {
  const { count, columns, width, height, indices, seconds } = facts;
  if (!urls.length) {
    decimals = seconds.length > 1 && seconds[1] - seconds[0] < 1 ? 1 : 0;
    film.style.setProperty("--aspect", Math.max(0.6, width / height));
  }
  const url = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
  urls.push(url);
  const sheet = { url, columns, rows: Math.ceil(count / columns), width, height };
  for (let i = 0; i < count; ) {
    const started = performance.now(), slice = document.createDocumentFragment();
    for (; i < count && performance.now() - started < SLICE_MS; i++) {
      const place = { sheet, column: i % columns, row: Math.floor(i / columns) };
      const frame = { ...place, index: indices[i], seconds: seconds[i] };
      frames.push(frame);
      slice.append(makeItem(frame, frames.length));
    }
    list.append(slice);
    await new Promise((resolve) => setTimeout(resolve));
    if (!isWanted()) return;
  }
}

// `done`: how many frames are decoded, if that is more than are here.
function show(phase, done = frames.length) {
  const first = frames[0]?.seconds, last = frames.at(-1)?.seconds;
  const hasTimes = first !== undefined;
  film.dataset.state = phase;
  film.dataset.count = frames.length;
  if (hasTimes) announce("samples", frames.map((frame) => frame.seconds));
  film.classList.toggle("many", total > 128);
  film.classList.toggle("huge", total > 600);
  film.classList.toggle("single", total === 1);
  film.classList.toggle("timed", hasTimes);
  if (phase !== "sampling") announce("sampling", 0);
  bar.style.width = phase === "sampling" && total ? `${done / total * 100}%` : "0";
  state.textContent =
    phase === "waiting" ? say("film.waiting") :
    phase === "failed" ? say("film.failed") :
    phase === "sampling" ? samplingText(done) :
    phase === "done" && hasTimes ?
      say("film.done", { number: done, start: formatTime(first), end: formatTime(last) }) :
    "";
}

// With the time that the rest takes, from the rate so far.
function samplingText(done) {
  const seconds = (performance.now() - samplingAt) / 1000, left = (total - done) * seconds / done;
  const isKnown = done > 0 && seconds >= SECONDS_BEFORE_ESTIMATE;
  announce("sampling", isKnown ? left : 0);
  return isKnown ? say("film.sampling_time", { done, total, duration: left }) : say("film.sampling", { done, total });
}

function draw() {
  const value = props.value || null;  // Gradio turns None into an empty string
  if (!selection.isCurrent(value) || (value?.asked_at ?? 0) < shownAt) return;
  shownAt = value?.asked_at ?? 0;
  if (!value?.token) { empty("empty"); return; }
  if (value.token === token) return;
  ({ token, total } = value);
  reset();
  announce("view", { view: value, isSameFile });
  isSameFile = true;
  const url = serverUrl(`/longva/frames/${token}`);
  for (const link of links) link.href = `${url}/${link.dataset.file}`;
  samplingAt = performance.now();
  show("sampling");
  fetcher.start(url);
}

// Removes the frames of the previous selection. `phase` is "waiting" if another file was selected, else "empty".
function empty(phase) {
  fetcher.stop();
  token = left = null;
  total = 0;
  isSameFile = false;
  reset();
  announce("view", { view: null, isSameFile });
  show(phase);
}

// Frames of the same video are about to be replaced, for another budget or range: note where the visitor is in time.
function savePlace() {
  const hasFocus = list.contains(document.activeElement), top = list.getBoundingClientRect().top;
  const item = hasFocus ? document.activeElement.closest("li")
    : list.scrollTop && [...list.children].find((one) => one.getBoundingClientRect().bottom > top + 1);
  if (item && isSameFile) left = { seconds: Number(item.firstChild.dataset.seconds), hasFocus };
  if (hasFocus) film.focus({ preventScroll: true });
}

// Returns there as soon as its frames have arrived, unless the visitor has moved elsewhere.
function restorePlace(isLast) {
  const after = left && frames.findIndex((frame) => frame.seconds >= left.seconds - 1e-6);
  if (!left || (after < 0 && !isLast)) return;
  const item = list.children[after < 0 ? frames.length - 1 : after], { hasFocus } = left;
  left = null;
  if (hasFocus && document.activeElement !== film) return;
  if (hasFocus) item.firstChild.focus({ preventScroll: true });
  const box = item.getBoundingClientRect(), view = list.getBoundingClientRect();
  if (list.scrollTop === 0 && (!hasFocus || box.bottom > view.bottom)) list.scrollTop = box.top - view.top - 10;
}

// The last frame at or before a moment; -1 if there is none.
function indexAt(seconds) {
  let low = 0, high = frames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle].seconds <= seconds) low = middle + 1; else high = middle;
  }
  return low - 1;
}

// Marks the last frame at or before the player's position. While the video plays, the list follows, unless the visitor
// is using it.
function follow(event) {
  if (!event.target.closest?.("#player") || frames[0]?.seconds === undefined) return;
  const index = indexAt(event.target.currentTime + 0.01);
  if (index === current) return;
  list.children[current]?.removeAttribute("aria-current");
  current = index;
  const item = list.children[current];
  item?.setAttribute("aria-current", "true");
  if (item && !event.target.paused && !list.matches(":hover, :focus-within")) reveal(item);
}

// Scrolls the list, and nothing else, to a frame that is out of sight. On a phone it is a strip.
function reveal(item) {
  const box = item.getBoundingClientRect(), view = list.getBoundingClientRect();
  if (box.top < view.top || box.bottom > view.bottom) list.scrollTop += box.top - view.top - 10;
  if (box.left < view.left || box.right > view.right) list.scrollLeft += box.left - view.left - 10;
}

// Paints the last frame at or before a moment, for the timeline. Without frames the node keeps no style.
function paintAt({ detail: { node, seconds } }) {
  const index = indexAt(seconds);
  if (frames[index]?.seconds === undefined) node.removeAttribute("style"); else paint(node, frames[index]);
}

// Shows the attention of the newest answer to each frame as a strip below it. Touches only what changed.
function showAttention({ detail: weights }) {
  film.classList.toggle("attributed", weights !== null);
  frames.forEach((_, i) => {
    const item = list.children[i], weight = weights?.[i] ?? 0;
    if (Number(item.style.getPropertyValue("--weight") || 0) !== weight) item.style.setProperty("--weight", weight);
  });
}

// Spends the whole budget on the stretch around a frame, from the sample before it to the one after it, within the
// present range.
function lookCloser(index) {
  const { duration, trail } = props.value, [start, end] = trail.at(-1);
  const min = start ?? 0, max = Math.min(end ?? duration, duration);
  const range = widenRange(frames[index - 1]?.seconds ?? min, frames[index + 1]?.seconds ?? max, min, max);
  loupe.close();
  selection.setRange(range.start, range.end, duration);
  trigger("closer");
}

// Moves the list's single tab stop to `item`. A press between two frames focuses the list itself: then there is none.
function moveTabStop(item) {
  if (!item) return;
  list.querySelector('button[tabindex="0"]')?.setAttribute("tabindex", "-1");
  item.firstChild.tabIndex = 0;
}

function onKey(event) {
  const here = indexOf(event.target), last = frames.length - 1;
  if (here < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
  const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -here, End: last - here };
  if (event.key.toLowerCase() === "l") lookCloser(here);
  else if (event.key in steps) list.children[here + steps[event.key]]?.firstChild.focus();
  else return;
  event.preventDefault();
}

list.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-seconds]");
  if (button) playFrom(Number(button.dataset.seconds));
});
list.addEventListener("keydown", onKey);
list.addEventListener("focusin", (event) => moveTabStop(event.target.closest("li")));
element.querySelector(".film-size").addEventListener("input", (event) => {
  film.style.setProperty("--size", event.target.value);
  loupe.close();
});
document.addEventListener("longva:attention", showAttention);
document.addEventListener("longva:paint-frame", paintAt);
document.addEventListener("longva:moment", ({ detail: seconds }) => {
  const item = list.children[indexAt(seconds + 0.01)];
  if (item) reveal(item);
});
document.addEventListener("longva:file-changed", ({ detail: field }) => empty(field ? "waiting" : "empty"));
document.addEventListener("longva:request-failed", () => {
  draw();
  if (film.dataset.state === "waiting") empty("empty");
});
document.addEventListener("timeupdate", follow, true);  // media events do not bubble, so they are captured
watch("value", draw);
draw();
