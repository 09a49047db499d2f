// What a budget costs. Computed here, so that it follows the slider without a request to the server.
const cost = element.querySelector(".cost");
const [name, figures, gap, fit] = cost.querySelectorAll("b, span");
const findBudget = () => document.querySelector("#budget .budget");
let facts = props.value;  // about the selected file
let samplingSeconds = 0;  // how long the frames still need to be sampled

const chosenFrames = () => Number(findBudget()?.querySelector(".budget-number").value) || 1;

// What the model cannot see between two sampled frames.
function gapText(frames, source) {
  if (!source) return say("meter.no_source");
  if (source.pieces) return say("meter.picture", { count: source.pieces });
  if (frames === source.frames) return say(source.is_whole ? "meter.every_frame" : "meter.every_frame_in_range");
  if (frames === 1) return say("meter.single", { time: formatTime(source.first, 1) });
  return say("meter.gap", { interval: (source.last - source.first) / (frames - 1) });
}

// The time to the first word: what is left of the sampling, and the measurement nearest in size, scaled.
// `room`: what limits, "machine" or "context".
function fitText(frames, measurements, room) {
  if (!measurements.length) return say(`meter.fits_${room}_unmeasured`);
  const distance = ([size]) => Math.abs(Math.log(size / frames));
  const [size, seconds] = measurements.reduce((best, one) => distance(one) < distance(best) ? one : best);
  return say(`meter.fits_${room}`, { interval: Math.max(0.1, samplingSeconds + seconds * frames / size) });
}

// How many of the tokens are lines of what is said and written.
function linesText() {
  if (!facts.lines) return "";
  const { count, tokens, is_all: isAll } = facts.lines;
  return ` ${say(isAll ? "meter.lines" : "meter.lines_fitting", { count, tokens })}`;
}

// What a question about new frames costs of a visitor's GPU quota, on ZeroGPU.
function quotaText(frames) {
  if (!facts.quota) return "";
  const { start_seconds: start, frame_seconds: each, max_seconds: most } = facts.quota;
  return " " + say("meter.quota", { interval: Math.min(most, start + frames * each) });
}

function show() {
  const { source, largest } = facts;
  const frames = source?.pieces ?? Math.min(chosenFrames(), source?.frames ?? Infinity);
  const tokens = frames * facts.frame_tokens + (facts.lines?.tokens ?? 0), fits = frames <= largest;
  const bytes = tokens * facts.frame_bytes / facts.frame_tokens;
  cost.classList.toggle("over", !fits);
  name.textContent = say(source?.pieces ? "count.grids" : "count.frames", { count: frames });
  figures.textContent = ` · ${say("meter.figures", { tokens, share: tokens / facts.context_length, bytes })}`;
  const numbers = source?.has_numbers ? ` ${say("meter.numbers")}` : "";
  gap.textContent = fits ? gapText(frames, source) + numbers + linesText() : "";
  fit.textContent = fits
    ? fitText(frames, facts.reads, facts.knows_memory ? "machine" : "context") + quotaText(frames)
    : say("meter.over", { count: largest });
  markLimit(largest);
}

// Marks the largest budget that fits on the slider's logarithmic scale, unless all budgets fit.
function markLimit(largest) {
  const budget = findBudget(), max = Number(budget?.querySelector(".budget-number").max);
  if (!max) return;
  const isLimited = largest >= 1 && largest < max;
  budget.classList.toggle("limited", isLimited);
  budget.style.setProperty("--limit", isLimited ? Math.log(largest) / Math.log(max) : 1);
  budget.querySelector(".budget-limit").title = say("meter.most", { count: largest });
}

createRangeCheck(element.querySelector(".range-problem"));
document.addEventListener("longva:budget", show);
document.addEventListener("longva:sampling", ({ detail: seconds }) => { samplingSeconds = seconds; show(); });
document.addEventListener("longva:file-changed", () => { facts = { ...facts, source: null, lines: null }; show(); });
watch("value", () => {
  const { value } = props;
  if (!selection.isCurrent(value) || value.at < facts.at) return;
  facts = value;
  show();
});
show();
