// A slider whose steps are even in the logarithm: as much way from 1 to 10 frames as from 100 to 1,000.
const slider = element.querySelector("input[type=range]");
const number = element.querySelector("input[type=number]");
const largest = Number(number.max);
const toFrames = (step) => Math.round(Math.pow(largest, step / 1000));
const toStep = (frames) => Math.round(1000 * Math.log(frames) / Math.log(largest));
const clamp = (frames) => Math.min(largest, Math.max(1, Math.round(frames) || 1));
let lastMove = 0, pending = null;

function show() {
  const frames = clamp(props.value);
  if (toFrames(Number(slider.value)) !== frames) slider.value = toStep(frames);
  number.value = frames;
  slider.setAttribute("aria-valuetext", `${frames} frames`);
  slider.style.setProperty("--filled", `${slider.value / 10}%`);
}
function set(frames) { props.value = clamp(frames); show(); }
// While the slider moves, the cost follows, ten times a second at most.
function move() {
  clearTimeout(pending);
  pending = setTimeout(() => { lastMove = Date.now(); trigger("move"); }, Math.max(0, 100 - (Date.now() - lastMove)));
}
slider.addEventListener("input", () => { set(toFrames(Number(slider.value))); move(); });
slider.addEventListener("change", () => { clearTimeout(pending); trigger("settle"); });
number.addEventListener("change", () => { set(Number(number.value)); trigger("settle"); });
watch("value", show);
show();
