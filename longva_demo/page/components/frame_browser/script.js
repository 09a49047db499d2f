// Draws the sampled frames. `props.value` is {token, total, …}; the sheets themselves are fetched as one stream of
// records (see Sheets in frame_browser.py) and drawn as they come: an arriving sheet adds buttons and never redraws
// those that are there. One JPEG sheet becomes one blob URL; each frame shows its part of it by background-position.
const list = element.querySelector(".film-frames");
const film = element.querySelector(".film");
const state = element.querySelector(".film-state");
const bar = element.querySelector(".film-bar i");
film.tabIndex = -1;  // has the focus while the frame that had it is replaced
const links = [...element.querySelectorAll(".film-foot a")];
// A script that works for longer than this in one go makes scrolling and typing wait.
const SLICE_MILLISECONDS = 12;
let token = null, fetching = null, urls = [], frames = [], current = -1, decimals = 0;
let isSameFile = false;  // the frames that come are of the video whose frames are there
let shownAt = 0;  // when the selection that is shown was asked for
let left = null;  // where the visitor was in frames that went: {seconds, hasFocus}
const RETRIES = 3, RETRY_MILLISECONDS = 1000;

const blank = document.createElement("li");
blank.innerHTML = '<button type="button" tabindex="-1"><span class="film-picture"></span>' +
  '<span class="film-edge"><b></b><time></time></span></button>';

function reset() {
  leavePlace();
  urls.forEach((url) => URL.revokeObjectURL(url));
  closeLoupe();
  list.replaceChildren();
  urls = []; frames = []; current = -1;
  film.classList.remove("weighed");
}

// Shows a frame in `node`: its part of its sheet.
function paint(node, { sheet, column, row }) {
  const { url, columns, rows, width, height } = sheet;
  node.style.cssText = `background-image:url(${url});background-size:${columns * 100}% ${rows * 100}%;` +
    `background-position:${columns > 1 ? column / (columns - 1) * 100 : 0}% ` +
    `${rows > 1 ? row / (rows - 1) * 100 : 0}%;aspect-ratio:${width}/${height}`;
}

function makeItem(frame, number) {
  const item = blank.cloneNode(true), button = item.firstChild;
  const [picture, edge] = button.children;
  paint(picture, frame);
  if (frame.seconds === undefined) {
    button.disabled = true;
    button.setAttribute("aria-label", say("film.picture"));
    edge.remove();
  } else {
    button.dataset.seconds = frame.seconds;
    button.setAttribute("aria-label", say("film.sample", { number, time: label(frame.seconds) }));
    edge.firstChild.textContent = numeral(number);
    edge.lastChild.textContent = label(frame.seconds);
  }
  // Arrow keys walk through the frames; Tab enters and leaves the whole sheet.
  if (number === 1) button.tabIndex = 0;
  return item;
}

// Below a second from frame to frame, tenths tell neighbours apart.
const label = (seconds) => formatTime(seconds, decimals);

async function addSheet(facts, jpeg, isWanted) {
  const { count, columns, width, height, indices, seconds } = facts;
  if (!urls.length) {
    decimals = seconds.length > 1 && seconds[1] - seconds[0] < 1 ? 1 : 0;
    film.style.setProperty("--aspect", Math.max(0.6, width / height));
  }
  const url = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
  urls.push(url);
  const sheet = { url, columns, rows: Math.ceil(count / columns), width, height };
  for (let i = 0; i < count; ) {
    const started = performance.now(), slice = document.createDocumentFragment();
    for (; i < count && performance.now() - started < SLICE_MILLISECONDS; i++) {
      const frame = { sheet, column: i % columns, row: Math.floor(i / columns), index: indices[i], seconds: seconds[i] };
      frames.push(frame);
      slice.append(makeItem(frame, frames.length));
    }
    list.append(slice);
    await new Promise((go) => setTimeout(go));
    if (!isWanted()) return;
  }
}

// Reads exact numbers of bytes from a streamed response.
function byteReader(stream) {
  const reader = stream.getReader();
  let kept = new Uint8Array(0);
  return async (count) => {
    const parts = [kept];
    let length = kept.length;
    while (length < count) {
      const { done, value } = await reader.read();
      if (done) return null;
      parts.push(value);
      length += value.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const part of parts) { all.set(part, at); at += part.length; }
    kept = all.subarray(count);
    return all.subarray(0, count);
  };
}

const address = (value) => `${window.gradio_config?.root || location.origin}/longva/frames/${value.token}`;

// A connection that breaks is made again: the server sends everything once more, and what is there is passed over.
async function fetchSheets(value) {
  fetching?.abort();
  const mine = fetching = new AbortController(), isWanted = () => mine === fetching;
  for (let tries = 0; isWanted(); tries++) {
    if (await fetchOnce(value, mine, isWanted)) return;
    if (tries === RETRIES) { show("failed", value.total); return; }
    await new Promise((go) => setTimeout(go, RETRY_MILLISECONDS));
  }
}

async function fetchOnce(value, mine, isWanted) {
  let passed = 0;
  try {
    const response = await fetch(address(value), { signal: mine.signal });
    if (!response.ok) return false;
    const take = byteReader(response.body);
    for (let lengths; (lengths = await take(8)); ) {
      const view = new DataView(lengths.buffer, lengths.byteOffset, 8);
      const facts = JSON.parse(new TextDecoder().decode(await take(view.getUint32(0))));
      const jpeg = await take(view.getUint32(4));
      passed += facts.count;
      if (passed <= frames.length) continue;
      if (isWanted()) await addSheet(facts, jpeg.slice(), isWanted);
      if (!isWanted()) return true;
      show("sampling", value.total);
      takePlace(false);
    }
    if (isWanted()) { show("done", value.total); takePlace(true); }
    return true;
  } catch (error) {
    if (error.name !== "AbortError") console.warn("the frames could not be fetched:", error);
    return !isWanted();
  }
}

function show(phase, total) {
  const done = frames.length;
  const hasTimes = done > 0 && frames[0].seconds !== undefined;
  film.dataset.state = phase;
  film.dataset.count = done;
  if (hasTimes) tell("samples", frames.map((frame) => frame.seconds));
  film.classList.toggle("many", total > 128);
  film.classList.toggle("masses", total > 600);
  film.classList.toggle("single", total === 1);
  film.classList.toggle("timed", hasTimes);
  bar.style.width = phase === "sampling" && total ? `${done / total * 100}%` : "0";
  state.textContent =
    phase === "waiting" ? say("film.waiting") :
    phase === "failed" ? say("film.failed") :
    phase === "sampling" ? say("film.sampling", { done, total }) :
    phase === "done" && hasTimes ?
      say("film.done", { number: done, start: formatTime(frames[0].seconds), end: formatTime(frames[done - 1].seconds) }) :
    "";
}

// What other parts of the page, such as the timeline, show too.
const tell = (what, detail) => document.dispatchEvent(new CustomEvent(`longva:${what}`, { detail }));

function draw() {
  const value = props.value || null;  // Gradio makes an empty text of nothing
  if (!selection.isCurrent(value) || (value?.asked_at ?? 0) < shownAt) return;
  shownAt = value?.asked_at ?? 0;
  if (!value?.token) { empty("empty"); return; }
  if (value.token === token) return;
  token = value.token;
  reset();
  tell("look", { look: value, isSameFile });
  isSameFile = true;
  for (const link of links) link.href = `${address(value)}/${link.dataset.file}`;
  show("sampling", value.total);
  fetchSheets(value);
}

// Nothing is shown of what was selected before; "waiting" where something else was selected instead.
function empty(phase) {
  fetching?.abort();
  fetching = token = left = null;
  isSameFile = false;
  reset();
  tell("look", { look: null, isSameFile });
  show(phase, 0);
}

// The frames of another budget or range of the same video are coming: where the visitor was, by the video's time.
function leavePlace() {
  const hasFocus = list.contains(document.activeElement), top = list.getBoundingClientRect().top;
  const item = hasFocus ? document.activeElement.closest("li")
    : list.scrollTop && [...list.children].find((one) => one.getBoundingClientRect().bottom > top + 1);
  if (item && isSameFile) left = { seconds: Number(item.firstChild.dataset.seconds), hasFocus };
  if (hasFocus) film.focus({ preventScroll: true });
}

// Back there, as soon as its frames have come, unless the visitor has gone elsewhere since.
function takePlace(isLast) {
  const after = left && frames.findIndex((frame) => frame.seconds >= left.seconds - 1e-6);
  if (!left || (after < 0 && !isLast)) return;
  const item = list.children[after < 0 ? frames.length - 1 : after], { hasFocus } = left;
  left = null;
  if (hasFocus && document.activeElement !== film) return;
  if (hasFocus) item.firstChild.focus({ preventScroll: true });
  const box = item.getBoundingClientRect(), view = list.getBoundingClientRect();
  if (list.scrollTop === 0 && (!hasFocus || box.bottom > view.bottom)) list.scrollTop = box.top - view.top - 10;
}

// The frame under the player's clock is marked: the last one that was taken at or before it. While the video plays,
// the list follows, unless somebody is busy in it.
function follow(event) {
  if (!event.target.closest?.("#player") || frames[0]?.seconds === undefined) return;
  let low = 0, high = frames.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle].seconds <= event.target.currentTime + 0.01) low = middle + 1; else high = middle;
  }
  if (low - 1 === current) return;
  list.children[current]?.removeAttribute("aria-current");
  current = low - 1;
  const item = list.children[current];
  item?.setAttribute("aria-current", "true");
  if (!item || event.target.paused || list.matches(":hover, :focus-within")) return;
  const box = item.getBoundingClientRect(), view = list.getBoundingClientRect();
  if (box.top < view.top || box.bottom > view.bottom) list.scrollTop += box.top - view.top - 10;
}

// How much of the newest answer's attention each frame has, as a strip under it. Only what changed is touched.
let weights = null;
function heat(event) {
  weights = event.detail;
  film.classList.toggle("weighed", weights !== null);
  frames.forEach((_, i) => {
    const item = list.children[i], weight = weights?.[i] ?? 0;
    if (Number(item.style.getPropertyValue("--weight") || 0) !== weight) item.style.setProperty("--weight", weight);
  });
}

// Spends the whole budget on the stretch around a frame: from the sample before it to the one after it, inside the
// present range.
function lookCloser(number) {
  const { duration, trail } = props.value, [start, end] = trail.at(-1);
  const first = start ?? 0, last = Math.min(end ?? duration, duration);
  const before = frames[number - 1]?.seconds ?? first, after = frames[number + 1]?.seconds ?? last;
  closeLoupe();
  const { start: from, end: to } = stretch(before, after, first, last);
  selection.narrow(from, to, duration);
  trigger("closer");
}

// Moves the single tab stop to `item`; the list itself can get the focus too, by a press between two frames.
function rove(item) {
  if (!item) return;
  list.querySelector('button[tabindex="0"]')?.setAttribute("tabindex", "-1");
  item.firstChild.tabIndex = 0;
}

list.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-seconds]");
  if (button) playFrom(Number(button.dataset.seconds));
});
list.addEventListener("keydown", (event) => {
  const here = numberOf(event.target), last = frames.length - 1;
  const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -here, End: last - here };
  if (here < 0 || !(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  list.children[here + steps[event.key]]?.firstChild.focus();
});
list.addEventListener("keydown", (event) => {
  const here = numberOf(event.target);
  if (here < 0 || event.key.toLowerCase() !== "l" || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  lookCloser(here);
});
list.addEventListener("focusin", (event) => rove(event.target.closest("li")));
element.querySelector(".film-size").addEventListener("input", (event) => {
  film.style.setProperty("--size", event.target.value);
  closeLoupe();
});
document.addEventListener("longva:weights", heat);
document.addEventListener("longva:turned", ({ detail: field }) => empty(field ? "waiting" : "empty"));
document.addEventListener("longva:failed", () => { draw(); if (film.dataset.state === "waiting") empty("empty"); });
document.addEventListener("timeupdate", follow, true);  // media events do not bubble: catch them on the way down
watch("value", draw);
