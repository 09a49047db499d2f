// The needle test's heat map: a column per haystack size, a row per depth, from red (none found) over yellow to green.
const start = element.querySelector(".needles-start"), stop = element.querySelector(".needles-stop");
const pictures = element.querySelector(".needles-pictures"), state = element.querySelector(".needles-state");
const table = element.querySelector(".heat");
// The colours of the published heat map.
const STOPS = [[240, 73, 110], [235, 184, 57], [12, 215, 159]];
let shownAt = 0;

function toColour(share) {
  const [from, to] = share < 0.5 ? [STOPS[0], STOPS[1]] : [STOPS[1], STOPS[2]];
  const part = share < 0.5 ? 2 * share : 2 * share - 1;
  return `rgb(${from.map((value, i) => Math.round(value + part * (to[i] - value))).join(" ")})`;
}

function addHeading(row, text, scope) {
  const cell = make("th", "", text);
  cell.scope = scope;
  row.append(cell);
}

function drawTable({ sizes, depths, scores }) {
  table.replaceChildren();
  const head = table.createTHead().insertRow(), body = table.createTBody();
  addHeading(head, say("needle.depth"), "col");
  for (const size of sizes) addHeading(head, say("count.frames", { count: size }), "col");
  depths.forEach((depth, i) => {
    const row = body.insertRow();
    addHeading(row, formatSlot("share", depth), "row");
    for (const score of scores[i]) {
      const cell = row.insertCell();
      if (!score) continue;
      const [right, asked] = score;
      cell.textContent = say("needle.score", { right, asked });
      cell.style.background = toColour(right / asked);
    }
  });
}

function draw() {
  const { value } = props;
  if (value && value.asked_at < shownAt) return;  // from an earlier test
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
