// What is said and written in the selected video. `props.value` is {at, file, lines, running, done, total, notes, rates}:
// each line is [start, end, text, source]. Lines come from a stranger's file: they are drawn with textContent, and cues of
// the player are escaped. A list of any length is drawn in parts as it is scrolled.
const PART = 200, SEARCH_MS = 200, MAX_FILE_BYTES = 500_000;
const box = element.querySelector(".words"), list = element.querySelector(".words-list");
const search = element.querySelector(".words-search"), state = element.querySelector(".words-state");
const notes = element.querySelector(".words-notes"), count = element.querySelector(".words-count");
const show = element.querySelector(".words-show"), stop = element.querySelector(".words-stop");
const attach = element.querySelector(".words-attach input");
const buttons = { speech: element.querySelector(".words-speech"), screen: element.querySelector(".words-screen") };
let view = null;  // the sampled view, once there is a video
let lines = [], matches = null;  // positions of the lines that match the search; null: all
let numDrawn = 0, shownAt = 0, searchTimer = 0, isRead = false;
let cues = null;  // the track of the player

const shown = () => matches ?? lines.map((_, position) => position);

function drawPart() {
  const part = shown().slice(numDrawn, numDrawn + PART);
  list.append(...part.map((position) => makeLine(lines[position])));
  numDrawn += part.length;
}

function makeLine([start, , text, source]) {
  const item = make("li", ""), button = make("button", `words-line words-${source}`);
  button.type = "button";
  button.dataset.start = start;
  button.title = say(`words.from_${source}`);
  const bdi = make("bdi", "", text);
  bdi.dir = "auto";
  button.append(make("time", "", formatTime(start)), make("i", "words-mark"), bdi);
  button.addEventListener("click", () => playFrom(start));
  item.append(button);
  return item;
}

function drawList() {
  const top = list.scrollTop;
  list.replaceChildren();
  const wanted = Math.max(PART, numDrawn);
  numDrawn = 0;
  while (numDrawn < Math.min(wanted, shown().length)) drawPart();
  list.scrollTop = top;
  count.textContent = lines.length ? say("words.count", { count: lines.length }) : "";
}

// Escaped, since a cue is WebVTT: a tag in it would style it or hide text.
const escapeCue = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function drawCues() {
  const player = document.querySelector(PLAYER);
  if (!player) return;
  if (cues?.player !== player) cues = { player, track: player.addTextTrack("subtitles", say("words.title")) };
  const { track } = cues;
  track.mode = show.checked ? "showing" : "hidden";
  for (const cue of [...track.cues ?? []]) track.removeCue(cue);
  if (!show.checked) return;
  // Text in the frames can be seen anyway. Where there are subtitles, speech would repeat them.
  const source = lines.some(([, , , from]) => from === "subtitles") ? "subtitles" : "speech";
  for (const [start, end, text, from] of lines)
    if (from === source && end > start) track.addCue(new VTTCue(start, end, escapeCue(text)));
}

function drawState(value) {
  const running = value?.running ?? "";
  for (const [source, button] of Object.entries(buttons)) button.hidden = Boolean(running) || !value?.available.includes(source);
  stop.hidden = !running;
  const share = value?.total ? value.done / value.total : 0;
  if (running) state.textContent = say(`words.reading_${running}`, { share });
  else if (value?.failed) state.textContent = say("words.failed");
  else state.textContent = value && !lines.length ? say("words.none") : "";
  notes.replaceChildren(...(value?.notes ?? []).map((text) => make("li", "", text)));
  for (const [source, button] of Object.entries(buttons)) {
    const seconds = source === "speech" ? (view?.duration ?? 0) * (value?.rates.speech ?? 0) : value?.rates.screen ?? 0;
    button.title = `${say(`words.${source}_title`)} ${say("words.estimate", { duration: seconds })}`;
  }
}

function draw() {
  const { value } = props;
  if (!value || value.at < shownAt || !view) return;
  shownAt = value.at;
  const isNew = hasChanged(list, "lines", value.lines);
  lines = value.lines;
  if (isNew && search.value.trim()) sendSearch();
  if (isNew) { drawList(); drawCues(); }
  drawState(value);
}

function sendSearch() {
  if (search.value.trim()) { trigger("search", { text: search.value }); return; }
  matches = null;
  numDrawn = 0;
  drawList();
}

function readSubtitles() {
  if (!box.open || !view || isRead) return;
  isRead = true;
  trigger("read", { sources: "subtitles" });
}

async function sendFile() {
  const [file] = attach.files;
  attach.value = "";
  if (!file) return;
  if (file.size > MAX_FILE_BYTES) { state.textContent = say("words.too_large", { max_bytes: MAX_FILE_BYTES }); return; }
  const bytes = new Uint8Array(await file.arrayBuffer());
  trigger("attach", { file: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")) });
}

function reset() {
  lines = [];
  matches = null;
  numDrawn = 0;
  isRead = false;
  search.value = "";
  hasChanged(list, "lines", null);
  drawList();
  drawCues();
  drawState(null);
}

search.addEventListener("input", () => { clearTimeout(searchTimer); searchTimer = setTimeout(sendSearch, SEARCH_MS); });
for (const [source, button] of Object.entries(buttons)) button.addEventListener("click", () => trigger("read", { sources: source }));
stop.addEventListener("click", () => trigger("stop"));
attach.addEventListener("change", sendFile);
show.addEventListener("change", drawCues);
box.addEventListener("toggle", readSubtitles);
list.addEventListener("scroll", () => { if (list.scrollTop + 2 * list.clientHeight > list.scrollHeight) drawPart(); });
for (const button of element.querySelectorAll("[data-format]"))
  button.addEventListener("click", () => trigger("download", { format: button.dataset.format }));
document.addEventListener("longva:words-found", ({ detail: found }) => {
  if (found.text !== search.value) return;  // the visitor has typed on
  matches = found.matches.filter((position) => position < lines.length);
  numDrawn = 0;
  drawList();
  list.scrollTop = 0;
});
document.addEventListener("longva:view", ({ detail }) => {
  view = detail.view?.duration ? detail.view : null;
  box.hidden = !view;
  if (!detail.isSameFile) reset();
  readSubtitles();
});
document.addEventListener("longva:file-changed", () => { view = null; box.hidden = true; reset(); });
watch("value", draw);
box.hidden = true;
