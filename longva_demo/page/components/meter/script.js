// What a budget costs, computed here, so that it follows the slider without asking the server.
const cost = element.querySelector(".cost");
const [name, figures, gap, fit] = cost.querySelectorAll("b, span");
const slider = () => document.querySelector("#budget .budget");
let known = props.value;  // of the file that is shown
const chosen = () => Number(slider()?.querySelector(".budget-number").value) || 1;

// What happens between two sampled frames, which nobody sees.
function gapText(frames, source) {
  if (!source) return say("meter.no_source");
  if (source.pieces) return say("meter.picture", { count: source.pieces });
  if (frames === source.frames) return say(source.is_whole ? "meter.every_frame" : "meter.every_frame_in_range");
  if (frames === 1) return say("meter.single", { time: formatTime(source.first, 1) });
  return say("meter.gap", { interval: (source.last - source.first) / (frames - 1) });
}

// The time to read is scaled from the earlier reading that is nearest in size.
function fitText(frames, reads, room) {
  if (!reads.length) return say(`meter.fits_${room}_unmeasured`);
  const distance = ([size]) => Math.abs(Math.log(size / frames));
  const [size, seconds] = reads.reduce((best, one) => distance(one) < distance(best) ? one : best);
  return say(`meter.fits_${room}`, { interval: Math.max(0.1, seconds * frames / size) });
}

function show() {
  const { source, largest, context_length: context, knows_memory: knows, ...facts } = known;
  const frames = source?.pieces ?? Math.min(chosen(), source?.frames ?? Infinity), tokens = frames * facts.frame_tokens;
  const fits = frames <= largest;
  cost.classList.toggle("over", !fits);
  name.textContent = say(source?.pieces ? "count.grids" : "count.frames", { count: frames });
  const bytes = frames * facts.frame_bytes;
  figures.textContent = ` · ${say("meter.figures", { tokens, share: tokens / context, bytes })}`;
  gap.textContent = fits ? gapText(frames, source) : "";
  fit.textContent = fits
    ? fitText(frames, facts.reads, knows ? "machine" : "context")
    : say("meter.over", { count: largest });
  mark(largest);
}

// The largest budget that fits, on the slider's logarithmic scale; nothing where all of it fits.
function mark(largest) {
  const most = Number(slider()?.querySelector(".budget-number").max);
  if (!most) return;
  const isShown = largest >= 1 && largest < most;
  slider().classList.toggle("limited", isShown);
  slider().style.setProperty("--most", isShown ? Math.log(largest) / Math.log(most) : 1);
  slider().querySelector(".budget-most").title = say("meter.most", { count: largest });
}

document.addEventListener("longva:budget", show);
document.addEventListener("longva:turned", () => { known = { ...known, source: null }; show(); });
watch("value", () => { if (selection.isCurrent(props.value)) { known = props.value; show(); } });
show();
