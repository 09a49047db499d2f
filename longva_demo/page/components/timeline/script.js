// Draws the timeline: one canvas for the samples, however many. The frame browser announces the sampled view
// ("longva:view", {view: {duration, trail}, isSameFile}) and the frames that have arrived ("longva:samples", seconds).
// The track spans the present range; the trail leads back to the whole video.
const timeline = element.querySelector(".timeline");
const track = element.querySelector(".track");
const canvas = track.querySelector("canvas");
const [range, head, hover] = track.querySelectorAll("i");
const [thumbnail, hoverText] = hover.children;
const trail = element.querySelector(".trail");
// A pointer that moves less than this clicks; one that moves more selects.
const DRAG_PIXELS = 4;
let view = null, samples = [], weights = null;
let isAwaited = false;  // whether a video is selected whose view has not arrived
// A selection in progress: the seconds where it began, and {start, end} once it is a range.
let anchor = null, draftRange = null;
let pressedX = null;  // where the pointer went down

const search = createSearch({
  element,
  onSearch: (query) => trigger("search", { query }),
  onStop: () => trigger("stop_search"),
  onSave: (format) => trigger("save", { format }),
  onCloser: submitPadded,
  onChange: paint,
});

const player = () => document.querySelector(PLAYER);
// The present range in seconds.
const span = () => {
  const [start, end] = view?.trail.at(-1) ?? [null, null];
  return { from: start ?? 0, to: Math.min(end ?? Infinity, view?.duration ?? 0) };
};
// Where a moment is on the track, as a share of its width.
const share = (seconds) => {
  const { from, to } = span();
  return to > from ? (seconds - from) / (to - from) : 0;
};
const percent = (seconds) => `${100 * share(seconds)}%`;
const clamp = (seconds) => Math.min(span().to, Math.max(span().from, seconds));
const formatRange = (start, end) => {
  const decimals = end - start < 10 ? 1 : 0;
  return say("timeline.span", { start: formatTime(start, decimals), end: formatTime(end, decimals) });
};

// Samples are thin lines: many become a band, and a gap remains visible.
function paint() {
  const scale = devicePixelRatio || 1, width = track.clientWidth, height = track.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  if (!view?.duration || !width) return;
  pen.scale(scale, scale);
  pen.fillStyle = getComputedStyle(timeline).getPropertyValue("--film-edge");
  const thickness = samples.length > width / 4 ? 1 : 2;
  samples.forEach((seconds, number) => {
    pen.globalAlpha = weights ? 0.12 + 0.88 * (weights[number] ?? 0) : 0.75;
    pen.fillRect(Math.min(width - thickness, share(seconds) * width), 8, thickness, height - 16);
  });
  paintCurve(pen, width, height);
}

// What a search has found: its ranges as bands, and the score of each frame as a curve.
function paintCurve(pen, width, height) {
  const { frames, ranges } = search.curve() ?? { frames: [], ranges: [] };
  timeline.dataset.curve = frames.length;
  pen.fillStyle = pen.strokeStyle = getComputedStyle(timeline).getPropertyValue("--curve");
  pen.globalAlpha = 0.3;
  for (const { start, end } of ranges)
    pen.fillRect(share(start) * width, 0, Math.max(2, (share(end) - share(start)) * width), height);
  pen.globalAlpha = 1;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (const [seconds, score] of frames) pen.lineTo(share(seconds) * width, height - 3 - score * (height - 6));
  pen.stroke();
}

function showRange() {
  range.hidden = draftRange === null;
  if (range.hidden) return;
  range.style.left = percent(draftRange.start);
  range.style.right = `calc(100% - ${percent(draftRange.end)})`;
}

// The ranges that led to the present one; each is a button that goes back to it.
function showTrail() {
  trail.replaceChildren(...(view?.trail ?? [[null, null]]).map(([start, end], number, all) => {
    const isLast = number === all.length - 1, crumb = document.createElement(isLast ? "b" : "button");
    crumb.textContent =
      start === null && end === null ? say("timeline.whole") : formatRange(start ?? 0, end ?? view.duration);
    if (isLast) return crumb;
    crumb.title = say("timeline.back");
    crumb.type = "button";
    crumb.addEventListener("click", () => submitRange(start, end));
    return crumb;
  }));
}

function showHead() {
  const seconds = view?.duration ? Math.min(player()?.currentTime ?? 0, view.duration) : 0, { from, to } = span();
  head.style.left = percent(seconds);
  head.hidden = seconds < from || seconds > to;
  track.setAttribute("aria-valuemin", from);
  track.setAttribute("aria-valuemax", to);
  track.setAttribute("aria-valuenow", clamp(seconds));
  track.setAttribute("aria-valuetext", draftRange
    ? say("timeline.selected", { span: formatRange(draftRange.start, draftRange.end) })
    : say("timeline.now", { position: formatTime(seconds), length: formatTime(view?.duration ?? 0) }));
}

function showHover(seconds) {
  hover.hidden = seconds === null;
  if (seconds === null) return;
  hover.style.left = percent(seconds);
  const { from, to } = span();
  hoverText.textContent =
    draftRange ? formatRange(draftRange.start, draftRange.end) : formatTime(seconds, to - from < 60 ? 1 : 0);
  // The frame browser paints the sampled frame at this time.
  document.dispatchEvent(new CustomEvent("longva:paint-frame", { detail: { node: thumbnail, seconds } }));
  // Keeps label and thumbnail inside the track.
  hover.style.setProperty("--shift", `${-100 * share(seconds)}%`);
}

function seek(seconds) {
  if (player()) player().currentTime = seconds;
  showHead();
}

function select(from, to) {
  draftRange = { start: Math.min(from, to), end: Math.max(from, to) };
  showRange();
  showHead();
}

function clearSelection() {
  anchor = draftRange = null;
  showRange();
  showHead();
  showHover(null);
}

// Spends the whole budget on the selected range.
function submitSelection() {
  const { start, end } = widenRange(draftRange.start, draftRange.end, span().from, span().to);
  clearSelection();
  submitRange(start, end);
}

// A found range with a little of what is around it.
function submitPadded(start, end) {
  const margin = 0.25 * (end - start), wide = widenRange(start - margin, end + margin, 0, view.duration);
  submitRange(Math.max(0, wide.start), Math.min(view.duration, wide.end));
}

function submitRange(start, end) {
  selection.setRange(start, end, view.duration);
  trigger("range");
}

const secondsAt = (event) => {
  const box = track.getBoundingClientRect();
  const { from, to } = span();
  return clamp(from + (event.clientX - box.left) / box.width * (to - from));
};

function onKey(event) {
  if (!view?.duration || event.ctrlKey || event.altKey || event.metaKey) return;
  const { from, to } = span(), step = Math.max(0.1, (to - from) / 100), now = clamp(player()?.currentTime ?? 0);
  const steps = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageUp: 10 * step,
    PageDown: -10 * step, Home: -Infinity, End: Infinity };
  if (event.key === "Escape") clearSelection();
  else if (event.key === "Enter" && draftRange) submitSelection();
  else if (event.key === "Enter") { if (player()?.paused) player().play().catch(() => {}); else player()?.pause(); }
  else if (event.key.toLowerCase() === "i") select(now, draftRange?.end > now ? draftRange.end : to);
  else if (event.key.toLowerCase() === "o") select(draftRange?.start < now ? draftRange.start : from, now);
  else if (event.key in steps) {
    const seconds = clamp(now + steps[event.key]);
    if (event.shiftKey) anchor ??= now; else clearSelection();
    seek(seconds);
    if (event.shiftKey) select(anchor, seconds);
  } else return;
  event.preventDefault();
}

track.addEventListener("pointerdown", (event) => {
  if (!view?.duration || event.button) return;
  clearSelection();
  pressedX = event.clientX;
  anchor = secondsAt(event);
  track.setPointerCapture(event.pointerId);
});
track.addEventListener("pointermove", (event) => {
  if (!view?.duration) return;
  const seconds = secondsAt(event), isPressed = pressedX !== null && anchor !== null;
  if (isPressed && (draftRange || Math.abs(event.clientX - pressedX) >= DRAG_PIXELS)) select(anchor, seconds);
  showHover(seconds);
});
track.addEventListener("pointerup", () => {
  if (pressedX === null) return;
  pressedX = null;
  if (draftRange) submitSelection(); else if (anchor !== null) { seek(anchor); clearSelection(); }
});
track.addEventListener("pointercancel", () => { pressedX = null; clearSelection(); });
track.addEventListener("pointerleave", () => { if (pressedX === null) showHover(null); });
track.addEventListener("keydown", onKey);

// Shows a new view. A selection in progress survives if the file is the same.
function show(isSameFile) {
  timeline.dataset.state = view?.duration ? "ready" : isAwaited ? "waiting" : "empty";
  if (!isSameFile) pressedX = null;
  if (!isSameFile) clearSelection(); else showRange();
  showTrail();
  showHead();
  paint();
}

const listen = (name, onEvent) => document.addEventListener(name, onEvent, true);
// The place is kept from the click on, so that nothing moves when the view arrives.
listen("longva:file-changed", ({ detail: field }) => {
  isAwaited = field === "video";
  search.clear();
  show(false);
});
listen("longva:request-failed", () => { isAwaited = false; show(true); });
listen("longva:view", ({ detail }) => { view = detail.view; samples = []; weights = null; show(detail.isSameFile); });
listen("longva:samples", ({ detail }) => { samples = detail; timeline.dataset.samples = samples.length; paint(); });
listen("longva:range", ({ detail: { start, end } }) => { if (view) submitRange(start, end); });
listen("longva:attention", ({ detail }) => { weights = detail; paint(); });
// Media events do not bubble, so they are captured.
for (const name of ["timeupdate", "seeking", "loadedmetadata"])
  listen(name, (event) => { if (event.target.closest?.("#player")) showHead(); });
new ResizeObserver(paint).observe(track);
watch("value", () => search.show(props.value));
show(false);
