// What a budget costs, computed here, so that it follows the slider without asking the server.
const cost = element.querySelector(".cost");
const [name, figures, gap, fit] = cost.querySelectorAll("b, span");
const count = (n) => n.toLocaleString("en-US");
const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
const share = (part) => part < 0.001 ? "under 0.1%" : part < 0.1 ? `${(100 * part).toFixed(1)}%` : `${Math.round(100 * part)}%`;
const size = (bytes) => bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.round(bytes / 1e3)} kB`;
// "0.25 s", "14 s", "1:30"
const short = (seconds) => seconds >= 90 ? clock(seconds) : seconds >= 9.95 ? `${Math.round(seconds)} s` : `${Number(seconds.toPrecision(2))} s`;

const slider = () => document.querySelector("#budget .budget");
const chosen = () => Number(slider()?.querySelector(".budget-number").value) || 1;

// What happens between two sampled frames, which nobody sees.
function gapText(frames, source) {
  if (!source) return "A frame budget for the next video; a picture costs what it needs.";
  if (source.pieces) return `The picture is read in ${plural(source.pieces, "piece")}, in full detail.`;
  if (frames === source.frames) return `Every frame of the ${source.is_whole ? "video" : "range"} is taken.`;
  if (frames === 1) return `A single frame, at ${clock(source.first, 1)}: the rest is not seen.`;
  return `A frame every ${short((source.last - source.first) / (frames - 1))}: what is shorter can be missed.`;
}

// Scaled from the earlier reading that is nearest in size.
function readText(frames, reads) {
  if (!reads.length) return "the time to read it is not yet measured here";
  const distance = ([size]) => Math.abs(Math.log(size / frames));
  const [size, seconds] = reads.reduce((best, one) => distance(one) < distance(best) ? one : best);
  const expected = seconds * frames / size;
  return `about ${expected < 0.1 ? "0.1 s" : short(expected)} to the first word`;
}

function show() {
  const { source, largest, context_length: context, knows_memory: knows, ...facts } = props.value;
  const frames = source?.pieces ?? Math.min(chosen(), source?.frames ?? Infinity), tokens = frames * facts.frame_tokens;
  const fits = frames <= largest;
  cost.classList.toggle("over", !fits);
  name.textContent = plural(frames, source?.pieces ? "grid" : "frame");
  figures.textContent = ` · ${count(tokens)} tokens · ${share(tokens / context)} of the context · ` +
    `${size(frames * facts.frame_bytes)} of memory`;
  gap.textContent = fits ? gapText(frames, source) : "";
  fit.textContent = fits
    ? `Fits ${knows ? "this machine" : "the context"}; ${readText(frames, facts.reads)}.`
    : `This machine has room for ${plural(largest, "frame")}.`;
  mark(largest);
}

// The largest budget that fits, on the slider's logarithmic scale; nothing where all of it fits.
function mark(largest) {
  const most = Number(slider()?.querySelector(".budget-number").max);
  if (!most) return;
  const isShown = largest >= 1 && largest < most;
  slider().classList.toggle("limited", isShown);
  slider().style.setProperty("--most", isShown ? Math.log(largest) / Math.log(most) : 1);
  slider().querySelector(".budget-most").title = `${plural(largest, "frame")} fit this machine`;
}

document.addEventListener("longva:budget", show);
watch("value", show);
show();
