// What is said and written in the selected video. `props.value` is {at, asked_at, lines, running, done, total, notes,
// available, gives}; each line is [start, end, text, source]. Lines come from a stranger's file: they are drawn with textContent,
// and escaped for the player. A long list is drawn in parts as it is scrolled.
const PART = 200, SEARCH_MS = 200, MAX_FILE_BYTES = 500_000;
// CPU seconds: of tiny.en per second of speech, and of 64 frames of 720p.
const SPEECH_RATE = 0.2, SCREEN_SECONDS = 40;
const list = element.querySelector(".words-list"), body = element.querySelector(".words-body");
const state = element.querySelector(".words-state"), search = element.querySelector(".words-search");
const notes = element.querySelector(".words-notes");
const show = element.querySelector(".words-show"), stop = element.querySelector(".words-stop");
const file = element.querySelector(".words-file"), save = element.querySelector(".words-save");
const give = element.querySelector(".words-give");
const buttons = { speech: element.querySelector(".words-speech"), screen: element.querySelector(".words-screen") };
let view = null;  // the sampled view, if it is of a video
let lines = [], matches = null;  // positions of the lines that match the search; null: all
let numDrawn = 0, shownAt = 0, changedAt = 0, searchTimer = 0, isRead = false;
let cues = null;  // the track of the player
let current = null;  // the newest value about this file

const shown = () => matches ?? lines.map((_, position) => position);

function drawPart() {
  const part = shown().slice(numDrawn, numDrawn + PART).map((position) => lines[position]);
  list.append(...part.map(([start, , text, source]) => makeLine(start, text, source)));
  numDrawn += part.length;
}

function drawList() {
  const wanted = Math.max(PART, numDrawn), top = body.scrollTop;
  list.replaceChildren();
  numDrawn = 0;
  while (numDrawn < Math.min(wanted, shown().length)) drawPart();
  body.scrollTop = top;
}

// A cue is WebVTT: a tag in it would style it or hide text.
const escapeCue = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function drawCues() {
  const player = document.querySelector(PLAYER);
  if (!player || (!cues && !show.checked)) return;
  if (cues?.player !== player) cues = { player, track: player.addTextTrack("subtitles", say("tab.words")) };
  const { track } = cues;
  track.mode = show.checked ? "showing" : "hidden";
  while (track.cues?.length) track.removeCue(track.cues[0]);
  // Text in the frames can be seen anyway, and speech would repeat subtitles.
  const source = lines.some((line) => line[3] === "subtitles") ? "subtitles" : "speech";
  for (const [start, end, text, from] of show.checked ? lines : [])
    if (from === source && end > start) track.addCue(new VTTCue(start, end, escapeCue(text)));
}

function describeState({ running = "", done = 0, total = 0 }) {
  if (running) return say(`words.reading_${running}`, { share: total ? done / total : 0 });
  if (!view) return say("words.no_video");
  return lines.length ? say("words.count", { count: lines.length }) : say("words.none");
}

function drawState() {
  const { running = "", available = [], notes: texts = [], gives = null } = current ?? {};
  const seconds = { speech: SPEECH_RATE * (view?.duration ?? 0), screen: SCREEN_SECONDS };
  for (const [source, button] of Object.entries(buttons)) {
    button.hidden = Boolean(running) || !view || !available.includes(source);
    setText(button, say(`words.${source}`, { interval: seconds[source] }));
    button.title = say(`words.${source}_title`);
  }
  stop.hidden = !running;
  save.hidden = !lines.length;
  give.parentElement.hidden = gives === null || !lines.length;
  give.checked = Boolean(gives);
  setText(state, describeState(current ?? {}));
  notes.replaceChildren(...texts.map((text) => make("li", "", text)));
}

function draw() {
  const { value } = props;
  if (!value || value.at < shownAt || value.asked_at < changedAt) return;  // of an earlier update, or of another file
  shownAt = value.at;
  current = value;
  if (hasChanged(list, "lines", value.lines)) {
    lines = value.lines;
    sendSearch();
    drawCues();
  }
  drawState();
}

function sendSearch() {
  if (search.value.trim()) { trigger("find_words", { text: search.value }); return; }
  matches = null;
  drawList();
}

// Subtitles are read when the panel is first seen.
function readSubtitles() {
  if (isRead || !view || !body.clientWidth) return;
  isRead = true;
  trigger("read_words", { sources: "subtitles" });
}

async function sendFile() {
  const [chosen] = file.files;
  file.value = "";
  if (!chosen) return;
  if (chosen.size > MAX_FILE_BYTES) { setText(state, say("words.too_large", { max_bytes: MAX_FILE_BYTES })); return; }
  const bytes = new Uint8Array(await chosen.arrayBuffer());
  trigger("attach_words", { name: chosen.name, file: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")) });
}

function reset() {
  [lines, matches, numDrawn, isRead, current] = [[], null, 0, false, null];
  changedAt = performance.now();
  search.value = "";
  hasChanged(list, "lines", null);
  drawList();
  drawCues();
  drawState();
}

search.addEventListener("input", () => { clearTimeout(searchTimer); searchTimer = setTimeout(sendSearch, SEARCH_MS); });
for (const [source, button] of Object.entries(buttons))
  button.addEventListener("click", () => trigger("read_words", { sources: source }));
stop.addEventListener("click", () => trigger("stop_words"));
element.querySelector(".words-attach").addEventListener("click", () => file.click());
file.addEventListener("change", sendFile);
show.addEventListener("change", drawCues);
give.addEventListener("change", () => trigger("give_words", { wanted: give.checked }));
body.addEventListener("scroll", () => { if (body.scrollTop + 2 * body.clientHeight > body.scrollHeight) drawPart(); });
for (const button of save.querySelectorAll("button"))
  button.addEventListener("click", () => trigger("save_words", { format: button.dataset.format }));
document.addEventListener("longva:words-found", ({ detail: found }) => {
  if (found.text !== search.value) return;  // the visitor has typed on
  matches = found.matches.filter((position) => position < lines.length);
  numDrawn = 0;
  drawList();
  body.scrollTop = 0;
});
function setView(sampled) {
  view = sampled?.duration ? sampled : null;
  drawState();
  readSubtitles();
}
document.addEventListener("longva:view", ({ detail }) => setView(detail.view));
document.addEventListener("longva:file-changed", () => { view = null; reset(); });
new ResizeObserver(readSubtitles).observe(body);
watch("value", draw);
setView(selection.view());
