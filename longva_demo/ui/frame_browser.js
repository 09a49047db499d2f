// Draws the sampled frames. `props.value` is {token, total}; the sheets themselves are fetched as one stream of
// records (see Sheets in frame_browser.py) and drawn as they come: an arriving sheet adds buttons and never redraws
// those that are there. One JPEG sheet becomes one blob URL; each frame shows its part of it by background-position.
const list = element.querySelector(".film-frames");
const film = element.querySelector(".film");
const state = element.querySelector(".film-state");
const bar = element.querySelector(".film-bar i");
let token = null, fetching = null, urls = [], times = [], current = -1, fine = false;

const clock = (seconds) => {
  const whole = Math.floor(seconds + 1e-6), pad = (n) => String(n).padStart(2, "0");
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
};
// Below a second from frame to frame, tenths tell neighbours apart.
const label = (seconds) => fine ? `${clock(seconds)}.${Math.floor(seconds * 10 + 1e-6) % 10}` : clock(seconds);

function reset() {
  urls.forEach((url) => URL.revokeObjectURL(url));
  list.replaceChildren();
  urls = []; times = []; current = -1;
}

function addSheet(sheet, jpeg) {
  if (!urls.length) {
    fine = sheet.seconds.length > 1 && sheet.seconds[1] - sheet.seconds[0] < 1;
    film.style.setProperty("--aspect", Math.max(0.6, sheet.width / sheet.height));
  }
  const url = URL.createObjectURL(new Blob([jpeg], { type: "image/jpeg" }));
  urls.push(url);
  const rows = Math.ceil(sheet.count / sheet.columns), part = document.createDocumentFragment();
  for (let i = 0; i < sheet.count; i++) {
    const number = list.children.length + part.children.length + 1;
    const item = document.createElement("li"), button = document.createElement("button");
    const picture = document.createElement("span");
    const column = i % sheet.columns, row = Math.floor(i / sheet.columns);
    picture.className = "film-picture";
    picture.style.cssText = `background-image:url(${url});background-size:${sheet.columns * 100}% ${rows * 100}%;` +
      `background-position:${sheet.columns > 1 ? column / (sheet.columns - 1) * 100 : 0}% ` +
      `${rows > 1 ? row / (rows - 1) * 100 : 0}%;aspect-ratio:${sheet.width}/${sheet.height}`;
    button.type = "button";
    button.append(picture);
    if (i < sheet.seconds.length) {
      const seconds = sheet.seconds[i], time = label(seconds);
      button.dataset.seconds = seconds;
      button.title = `Frame ${sheet.indices[i]} of the video. Play from ${time}`;
      button.setAttribute("aria-label", `Sample ${number} at ${time}: play from here`);
      button.insertAdjacentHTML("beforeend", `<span class="film-edge"><b>${number}</b><time>${time}</time></span>`);
      times.push(seconds);
    } else {
      button.disabled = true;
      button.setAttribute("aria-label", "The picture");
    }
    // Arrow keys walk through the frames; Tab enters and leaves the whole sheet.
    button.tabIndex = number === 1 ? 0 : -1;
    item.append(button);
    part.append(item);
  }
  list.append(part);
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

async function fetchSheets(value) {
  fetching?.abort();
  const mine = fetching = new AbortController();
  const root = window.gradio_config?.root || location.origin;
  try {
    const response = await fetch(`${root}/longva/frames/${value.token}`, { signal: mine.signal });
    if (!response.ok) return;
    const take = byteReader(response.body);
    for (let lengths; (lengths = await take(8)); ) {
      const view = new DataView(lengths.buffer, lengths.byteOffset, 8);
      const facts = JSON.parse(new TextDecoder().decode(await take(view.getUint32(0))));
      const jpeg = await take(view.getUint32(4));
      if (mine !== fetching) return;
      addSheet(facts, jpeg.slice());
      show("sampling", value.total);
    }
    if (mine === fetching) show("done", value.total);
  } catch (error) {
    if (error.name !== "AbortError") console.warn("the frames could not be fetched:", error);
  }
}

function show(phase, total) {
  const done = list.children.length, count = (n) => n.toLocaleString("en-US");
  film.dataset.state = phase;
  film.dataset.count = done;
  film.classList.toggle("many", total > 128);
  film.classList.toggle("masses", total > 600);
  film.classList.toggle("single", total === 1);
  bar.style.width = phase === "sampling" && total ? `${done / total * 100}%` : "0";
  state.textContent =
    phase === "sampling" ? `sampling, frame ${count(done)} of ${count(total)}` :
    phase === "done" && times.length ? `${count(done)} · ${clock(times[0])} to ${clock(times[times.length - 1])}` :
    "";
}

function draw() {
  const value = props.value;
  if ((value?.token ?? null) === token) return;
  token = value?.token ?? null;
  reset();
  if (!value) { fetching?.abort(); fetching = null; show("empty", 0); return; }
  show("sampling", value.total);
  fetchSheets(value);
}

function seek(seconds) {
  const player = document.querySelector("#player video");
  if (!player) return;
  player.currentTime = seconds;
  player.play().catch(() => {});  // a browser may refuse to play; the position is set all the same
}

// The frame under the player's clock is marked: the last one that was taken at or before it.
function follow(event) {
  if (!event.target.closest || !event.target.closest("#player") || !times.length) return;
  let low = 0, high = times.length;
  while (low < high) { const mid = (low + high) >> 1; if (times[mid] <= event.target.currentTime + 0.01) low = mid + 1; else high = mid; }
  if (low - 1 === current) return;
  list.children[current]?.removeAttribute("aria-current");
  current = low - 1;
  list.children[current]?.setAttribute("aria-current", "true");
}

list.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-seconds]");
  if (button) seek(Number(button.dataset.seconds));
});
list.addEventListener("keydown", (event) => {
  const here = [...list.children].indexOf(event.target.closest("li"));
  const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -here, End: list.children.length - 1 - here };
  if (here < 0 || !(event.key in steps)) return;
  const target = list.children[here + steps[event.key]];
  event.preventDefault();
  if (!target) return;
  event.target.tabIndex = -1;
  target.firstChild.tabIndex = 0;
  target.firstChild.focus();
});
document.addEventListener("timeupdate", follow, true);  // media events do not bubble: catch them on the way down
watch("value", draw);
draw();
