// A slider whose steps are even in the logarithm: as much way from 1 to 10 frames as from 100 to 1,000.
const slider = element.querySelector("input[type=range]");
const number = element.querySelector("input[type=number]");
const largest = Number(number.max);
const toFrames = (step) => Math.round(Math.pow(largest, step / 1000));
const toStep = (frames) => Math.round(1000 * Math.log(frames) / Math.log(largest));
const clamp = (frames) => Math.min(largest, Math.max(1, Math.round(frames) || 1));

function show() {
  const frames = clamp(props.value);
  if (toFrames(Number(slider.value)) !== frames) slider.value = toStep(frames);
  number.value = frames;
  slider.setAttribute("aria-valuetext", say("count.frames", { count: frames }));
  slider.style.setProperty("--filled", `${slider.value / 10}%`);
  document.dispatchEvent(new CustomEvent("longva:budget"));  // the cost follows
}
function set(frames) { props.value = clamp(frames); show(); }
slider.addEventListener("input", () => { set(toFrames(Number(slider.value))); });
slider.addEventListener("change", () => trigger("settle"));
number.addEventListener("change", () => { set(Number(number.value)); trigger("settle"); });
watch("value", show);
show();
