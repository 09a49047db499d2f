// Draws the sampled frames. `props.value` is {run, state, total, sheets}; sheets only grow within a run, so an
// update adds buttons and never redraws those that are there. One JPEG sheet becomes one blob URL, and each frame
// shows its part of it through background-position.
const list = element.querySelector(".film-frames");
const film = element.querySelector(".film");
const state = element.querySelector(".film-state");
const bar = element.querySelector(".film-bar i");
let run = null, drawn = 0, urls = [], times = [], current = -1;

const clock = (seconds) => {
  const whole = Math.floor(seconds + 1e-6), pad = (n) => String(n).padStart(2, "0");
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
};
// Below a frame a second, tenths tell neighbours apart.
const label = (seconds, fine) => fine ? `${clock(seconds)}.${Math.floor(seconds * 10 + 1e-6) % 10}` : clock(seconds);

function reset() {
  urls.forEach((url) => URL.revokeObjectURL(url));
  list.replaceChildren();
  drawn = 0; urls = []; times = []; current = -1;
}

function addSheet(sheet, fine) {
  const bytes = Uint8Array.from(atob(sheet.jpeg), (c) => c.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
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
      const seconds = sheet.seconds[i], time = label(seconds, fine);
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

function draw() {
  const value = props.value || { run: null, state: "empty", total: 0, sheets: [] };
  if (value.run !== run) { reset(); run = value.run; }
  const sheets = value.sheets || [];
  const first = sheets.length ? sheets[0].seconds : [];
  const fine = first.length > 1 && first[1] - first[0] < 1;
  for (; drawn < sheets.length; drawn++) addSheet(sheets[drawn], fine);
  const done = list.children.length;
  film.dataset.state = value.state;
  film.dataset.count = done;
  if (sheets.length) film.style.setProperty("--aspect", Math.max(0.6, sheets[0].width / sheets[0].height));
  film.classList.toggle("many", value.total > 128);
  film.classList.toggle("masses", value.total > 600);
  film.classList.toggle("single", value.total === 1);
  bar.style.width = value.state === "sampling" && value.total ? `${done / value.total * 100}%` : "0";
  const count = (n) => n.toLocaleString("en-US");
  state.textContent =
    value.state === "sampling" ? `sampling, frame ${count(done)} of ${count(value.total)}` :
    value.state === "done" && times.length ? `${count(done)} · ${clock(times[0])} to ${clock(times[times.length - 1])}` :
    "";
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
