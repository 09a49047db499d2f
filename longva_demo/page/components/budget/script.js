// A logarithmic slider: the way from 1 to 10 frames is as long as from 100 to 1,000.
const slider = element.querySelector("input[type=range]");
const number = element.querySelector("input[type=number]");
const maxFrames = Number(number.max);
const toFrames = (step) => Math.round(Math.pow(maxFrames, step / 1000));
const toStep = (frames) => Math.round(1000 * Math.log(frames) / Math.log(maxFrames));
const clamp = (frames) => Math.min(maxFrames, Math.max(1, Math.round(frames) || 1));

function show() {
  const frames = clamp(props.value);
  if (toFrames(Number(slider.value)) !== frames) slider.value = toStep(frames);
  number.value = frames;
  slider.setAttribute("aria-valuetext", say("count.frames", { count: frames }));
  slider.style.setProperty("--filled", `${slider.value / 10}%`);
  document.dispatchEvent(new CustomEvent("longva:budget"));  // the meter updates
}

function set(frames) {
  props.value = clamp(frames);
  show();
}

slider.addEventListener("input", () => set(toFrames(Number(slider.value))));
slider.addEventListener("change", () => trigger("settle"));
number.addEventListener("change", () => { set(Number(number.value)); trigger("settle"); });
watch("value", show);
show();
