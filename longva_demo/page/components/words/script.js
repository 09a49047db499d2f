// What is said and written in the selected video. `props.value` is {at, asked_at, lines, running, done, total, notes,
// available}; each line is [start, end, text, source]. Lines come from a stranger's file: they are drawn with textContent,
// and escaped for the player. A long list is drawn in parts as it is scrolled.
const PART = 200, SEARCH_MS = 200, MAX_FILE_BYTES = 500_000;
// Of tiny.en, per second of sound, and of 64 frames of 720p, on two cores.
const SPEECH_RATE = 0.15, SCREEN_SECONDS = 60;
const list = element.querySelector(".words-list"), state = element.querySelector(".words-state");
const search = element.querySelector(".words-search"), notes = element.querySelector(".words-notes");
const show = element.querySelector(".words-show"), stop = element.querySelector(".words-stop");
const file = element.querySelector(".words-file"), save = element.querySelector(".words-save");
const buttons = { speech: element.querySelector(".words-speech"), screen: element.querySelector(".words-screen") };
let view = null;  // the sampled view, once there is a video
let lines = [], matches = null;  // positions of the lines that match the search; null: all
let numDrawn = 0, shownAt = 0, changedAt = 0, searchTimer = 0, isRead = false;
let cues = null;  // the track of the player

const shown = () => matches ?? lines.map((_, position) => position);

function makeLine([start, , text, source]) {
  const item = make("li", ""), button = make("button", "words-line"), quoted = make("bdi", "", text);
  const mark = make("i", "words-mark");
  button.type = "button";
  button.title = say(`words.from_${source}`);
  quoted.dir = "auto";
  mark.dataset.source = source;
  button.append(make("time", "", formatTime(start)), mark, quoted);
  button.addEventListener("click", () => { document.querySelector("#video-tab-button")?.click(); playFrom(start); });
  item.append(button);
  return item;
}

function drawPart() {
  const part = shown().slice(numDrawn, numDrawn + PART);
  list.append(...part.map((position) => makeLine(lines[position])));
  numDrawn += part.length;
}

function drawList() {
  const wanted = Math.max(PART, numDrawn), top = list.scrollTop;
  list.replaceChildren();
  numDrawn = 0;
  while (numDrawn < Math.min(wanted, shown().length)) drawPart();
  list.scrollTop = top;
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

function drawState(value) {
  const running = value?.running ?? "";
  for (const [source, button] of Object.entries(buttons))
    button.hidden = Boolean(running) || !view || !value?.available.includes(source);
  const seconds = { speech: SPEECH_RATE * (view?.duration ?? 0), screen: SCREEN_SECONDS };
  for (const [source, button] of Object.entries(buttons))
    button.title = `${say(`words.${source}_title`)} ${say("words.estimate", { duration: seconds[source] })}`;
  stop.hidden = !running;
  save.hidden = !lines.length;
  if (running) setText(state, say(`words.reading_${running}`, { share: value.total ? value.done / value.total : 0 }));
  else if (!view) setText(state, say("words.no_video"));
  else setText(state, lines.length ? say("words.count", { count: lines.length }) : say("words.none"));
  notes.replaceChildren(...(value?.notes ?? []).map((text) => make("li", "", text)));
}

function draw() {
  const { value } = props;
  if (!value || value.at < shownAt || value.asked_at < changedAt) return;  // of an earlier update, or of another file
  shownAt = value.at;
  if (hasChanged(list, "lines", value.lines)) {
    lines = value.lines;
    if (search.value.trim()) trigger("find_words", { text: search.value });
    drawList();
    drawCues();
  }
  drawState(value);
}

function sendSearch() {
  if (search.value.trim()) { trigger("find_words", { text: search.value }); return; }
  matches = null;
  drawList();
}

// Subtitles are read when the panel is first seen.
function readSubtitles() {
  if (isRead || !view || !list.clientWidth) return;
  isRead = true;
  trigger("read_words", { sources: "subtitles" });
}

async function sendFile() {
  const [chosen] = file.files;
  file.value = "";
  if (!chosen) return;
  if (chosen.size > MAX_FILE_BYTES) { setText(state, say("words.too_large", { max_bytes: MAX_FILE_BYTES })); return; }
  const bytes = new Uint8Array(await chosen.arrayBuffer());
  trigger("attach_words", { file: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")) });
}

function reset() {
  [lines, matches, numDrawn, isRead] = [[], null, 0, false];
  changedAt = performance.now();
  search.value = "";
  hasChanged(list, "lines", null);
  drawList();
  drawCues();
  drawState(null);
}

search.addEventListener("input", () => { clearTimeout(searchTimer); searchTimer = setTimeout(sendSearch, SEARCH_MS); });
for (const [source, button] of Object.entries(buttons))
  button.addEventListener("click", () => trigger("read_words", { sources: source }));
stop.addEventListener("click", () => trigger("stop_words"));
element.querySelector(".words-attach").addEventListener("click", () => file.click());
file.addEventListener("change", sendFile);
show.addEventListener("change", drawCues);
list.addEventListener("scroll", () => { if (list.scrollTop + 2 * list.clientHeight > list.scrollHeight) drawPart(); });
for (const button of save.querySelectorAll("button"))
  button.addEventListener("click", () => trigger("save_words", { format: button.dataset.format }));
document.addEventListener("longva:words-found", ({ detail: found }) => {
  if (found.text !== search.value) return;  // the visitor has typed on
  matches = found.matches.filter((position) => position < lines.length);
  numDrawn = 0;
  drawList();
  list.scrollTop = 0;
});
document.addEventListener("longva:view", ({ detail }) => {
  view = detail.view?.duration ? detail.view : null;
  drawState(view && lines.length ? props.value : null);
  readSubtitles();
});
document.addEventListener("longva:file-changed", () => { view = null; reset(); });
new ResizeObserver(readSubtitles).observe(list);
watch("value", draw);
drawState(null);
