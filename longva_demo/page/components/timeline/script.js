// Draws the timeline: one canvas for the samples, whatever their number. The frame browser tells what is looked at
// ("longva:look", {duration, trail}) and which frames have come ("longva:samples", their seconds).
const timeline = element.querySelector(".timeline");
const track = element.querySelector(".track");
const canvas = track.querySelector("canvas");
const [range, head, hover] = track.querySelectorAll("i");
const trail = element.querySelector(".trail");
// A pointer that moves less than this many pixels clicks; one that moves more selects.
const DRAG_PIXELS = 4;
let look = null, samples = [], weights = null;
let anchor = null, drawn = null;  // seconds where a selection began; {start, end} while one is made

const player = () => document.querySelector("#player video");
const percent = (seconds) => `${look?.duration ? 100 * seconds / look.duration : 0}%`;
const clamp = (seconds) => Math.min(look.duration, Math.max(0, seconds));
const spoken = (start, end) => {
  const decimals = end - start < 10 ? 1 : 0;
  return say("timeline.span", { start: formatTime(start, decimals), end: formatTime(end, decimals) });
};

// Samples as thin lines: many of them become a band, and a gap stays a gap.
function paint() {
  const scale = devicePixelRatio || 1, width = track.clientWidth, height = track.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  if (!look?.duration || !width) return;
  pen.scale(scale, scale);
  pen.fillStyle = getComputedStyle(timeline).getPropertyValue("--film-edge");
  const thickness = samples.length > width / 4 ? 1 : 2;
  samples.forEach((seconds, number) => {
    pen.globalAlpha = weights ? 0.12 + 0.88 * (weights[number] ?? 0) : 0.75;
    pen.fillRect(Math.min(width - thickness, seconds / look.duration * width), 8, thickness, height - 16);
  });
}

function showRange() {
  const [start, end] = drawn ? [drawn.start, drawn.end] : look?.trail.at(-1) ?? [null, null];
  range.hidden = start === null && end === null;
  range.classList.toggle("selecting", drawn !== null);
  range.style.left = percent(start ?? 0);
  range.style.right = `calc(100% - ${percent(Math.min(end ?? Infinity, look?.duration ?? 0))})`;
}

// The way to the present range; each step leads back.
function showTrail() {
  trail.replaceChildren(...(look?.trail ?? [[null, null]]).map(([start, end], number, all) => {
    const crumb = document.createElement(number < all.length - 1 ? "button" : "b");
    crumb.textContent = start === null && end === null ? say("timeline.whole") : spoken(start ?? 0, end ?? look.duration);
    if (crumb.type) crumb.title = say("timeline.back");
    crumb.type = "button";
    crumb.addEventListener("click", () => { if (number < all.length - 1) narrow(start, end); });
    return crumb;
  }));
}

function showHead() {
  const seconds = look?.duration ? Math.min(player()?.currentTime ?? 0, look.duration) : 0;
  head.style.left = percent(seconds);
  track.setAttribute("aria-valuemax", look?.duration ?? 0);
  track.setAttribute("aria-valuenow", seconds);
  track.setAttribute("aria-valuetext", drawn
    ? say("timeline.selected", { span: spoken(drawn.start, drawn.end) })
    : say("timeline.now", { position: formatTime(seconds), length: formatTime(look?.duration ?? 0) }));
}

function showHover(seconds) {
  hover.hidden = seconds === null;
  if (seconds === null) return;
  hover.style.left = percent(seconds);
  hover.firstChild.textContent = drawn ? spoken(drawn.start, drawn.end) : formatTime(seconds, look.duration < 60 ? 1 : 0);
  // The label stays inside the strip.
  hover.style.setProperty("--shift", `${-100 * seconds / look.duration}%`);
}

function seek(seconds) {
  if (player()) player().currentTime = seconds;
  showHead();
}

function select(from, to) {
  drawn = { start: Math.min(from, to), end: Math.max(from, to) };
  showRange();
  showHead();
}

function drop() {
  anchor = drawn = null;
  showRange();
  showHead();
  showHover(null);
}

// The whole budget for what was drawn.
function take() {
  const { start, end } = stretch(drawn.start, drawn.end, 0, look.duration);
  drop();
  narrow(start, end);
}

function narrow(start, end) {
  selection.narrow(start, end, look.duration);
  trigger("range");
}

const secondsAt = (event) => {
  const box = track.getBoundingClientRect();
  return clamp((event.clientX - box.left) / box.width * look.duration);
};
let pressed = null;
track.addEventListener("pointerdown", (event) => {
  if (!look?.duration || event.button) return;
  drop();
  pressed = event.clientX;
  anchor = secondsAt(event);
  track.setPointerCapture(event.pointerId);
});
track.addEventListener("pointermove", (event) => {
  if (!look?.duration) return;
  const seconds = secondsAt(event);
  if (pressed !== null && anchor !== null && (drawn || Math.abs(event.clientX - pressed) >= DRAG_PIXELS)) select(anchor, seconds);
  showHover(seconds);
});
track.addEventListener("pointerup", (event) => {
  if (pressed === null) return;
  pressed = null;
  if (drawn) take(); else if (anchor !== null) { seek(anchor); drop(); }
});
track.addEventListener("pointercancel", () => { pressed = null; drop(); });
track.addEventListener("pointerleave", () => { if (pressed === null) showHover(null); });
track.addEventListener("keydown", (event) => {
  if (!look?.duration || event.ctrlKey || event.altKey || event.metaKey) return;
  const step = Math.max(0.1, look.duration / 100), now = player()?.currentTime ?? 0;
  const steps = { ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageUp: 10 * step,
    PageDown: -10 * step, Home: -Infinity, End: Infinity };
  if (event.key === "Escape") drop();
  else if (event.key === "Enter" && drawn) take();
  else if (event.key === "Enter") { if (player()?.paused) player().play().catch(() => {}); else player()?.pause(); }
  else if (event.key in steps) {
    const seconds = clamp(now + steps[event.key]);
    if (event.shiftKey) anchor ??= now; else drop();
    seek(seconds);
    if (event.shiftKey) select(anchor, seconds);
  } else return;
  event.preventDefault();
});

// The frames of another look are coming; a selection that is being drawn on the same file stays.
function show(isSameFile) {
  timeline.dataset.state = look?.duration ? "ready" : "empty";
  if (!isSameFile) pressed = null;
  if (!isSameFile) drop(); else showRange();
  showTrail();
  paint();
}
const listen = (name, act) => document.addEventListener(name, act, true);
listen("longva:look", ({ detail }) => { look = detail.look; samples = []; weights = null; show(detail.isSameFile); });
listen("longva:samples", ({ detail }) => { samples = detail; timeline.dataset.samples = samples.length; paint(); });
listen("longva:weights", ({ detail }) => { weights = detail; paint(); });
// Media events do not bubble: catch them on the way down.
for (const name of ["timeupdate", "seeking", "loadedmetadata"]) {
  listen(name, (event) => { if (event.target.closest?.("#player")) showHead(); });
}
new ResizeObserver(paint).observe(track);
show(false);
