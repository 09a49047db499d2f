// The needle test: haystack sizes across, depth down, each cell from red (none found) over yellow to green (all).
const start = element.querySelector(".needles-start"), stop = element.querySelector(".needles-stop");
const pictures = element.querySelector(".needles-pictures"), state = element.querySelector(".needles-state");
const table = element.querySelector(".heat");
// The published heat map's colours.
const STOPS = [[240, 73, 110], [235, 184, 57], [12, 215, 159]];

function colour(share) {
  const [from, to] = share < 0.5 ? [STOPS[0], STOPS[1]] : [STOPS[1], STOPS[2]], part = share < 0.5 ? 2 * share : 2 * share - 1;
  return `rgb(${from.map((value, i) => Math.round(value + part * (to[i] - value))).join(" ")})`;
}

function heading(row, text, scope) {
  const cell = make("th", "", text);
  cell.scope = scope;
  row.append(cell);
}

function drawTable({ sizes, depths, scores }) {
  table.replaceChildren();
  const head = table.createTHead().insertRow(), body = table.createTBody();
  heading(head, say("needle.depth"), "col");
  for (const size of sizes) heading(head, say("count.frames", { count: size }), "col");
  depths.forEach((depth, i) => {
    const row = body.insertRow();
    heading(row, written("share", depth), "row");
    for (const score of scores[i]) {
      const cell = row.insertCell();
      if (!score) continue;
      const [right, asked] = score;
      cell.textContent = say("needle.score", { right, asked });
      cell.style.background = colour(right / asked);
    }
  });
}

let shownAt = 0;
function draw() {
  const value = props.value;
  if (value && value.asked_at < shownAt) return;  // an earlier test has ended
  shownAt = value?.asked_at ?? 0;
  start.hidden = Boolean(value?.running);
  stop.hidden = !value?.running;
  state.textContent = value ? say(value.state) : "";
  table.hidden = !value;
  if (!value) return;
  pictures.replaceChildren(...value.needles.map(({ name, picture }) => {
    const image = make("img", "");
    Object.assign(image, { src: picture, alt: name, title: name });
    return image;
  }));
  drawTable(value);
}

start.addEventListener("click", () => trigger("start"));
stop.addEventListener("click", () => trigger("stop"));
watch("value", draw);
