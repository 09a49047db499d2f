// A click on a card picks its example. A card plays its preview while the pointer or the keyboard focus is on it; the
// preview is fetched only then. Touch picks at once, and with reduced motion the still remains.
const SEEN = "longva-gallery-seen";
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const copyOf = (template) => element.querySelector(template).content.firstElementChild.cloneNode(true);

// card → what is on it, "pointer" or "focus". Kept here because Firefox still reports :hover while a pointer leaves.
const active = new Map();

async function play(card) {
  if (reducedMotion.matches || !card.dataset.preview || card.querySelector(".moving")) return;
  const preview = new Image();
  preview.className = "moving";
  preview.alt = "";
  preview.src = serverUrl(card.dataset.preview);
  try { await preview.decode(); } catch { return; }  // the still remains
  if (active.get(card).size && !card.querySelector(".moving")) card.querySelector("img").after(preview);
}

function enter(card, device) {
  active.get(card).add(device);
  play(card);
}

function leave(card, device) {
  active.get(card).delete(device);
  if (!active.get(card).size) card.querySelector(".moving")?.remove();
}

function pick(choice) {
  dismissHint();
  selection.pickExample(choice);
  trigger("pick");
}

function drawCard({ title, shows, thumbnail, preview, choice }) {
  const card = copyOf(".card-template"), { budget, kind, questions } = choice;
  card.title = [say(shows), ...questions].join("\n");
  if (preview) card.dataset.preview = preview;
  card.querySelector("img").src = thumbnail;
  const frames = card.querySelector("i");
  if (kind === "video") frames.textContent = say("count.frames", { count: budget });
  else frames.remove();
  card.querySelector("b").textContent = say(title);
  card.querySelector(".card-shows").textContent = say(shows);
  active.set(card, new Set());
  card.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") enter(card, "pointer"); });
  card.addEventListener("pointerleave", () => leave(card, "pointer"));
  card.addEventListener("focus", () => { if (card.matches(":focus-visible")) enter(card, "focus"); });
  card.addEventListener("blur", () => leave(card, "focus"));
  card.addEventListener("click", () => pick(choice));
  return card;
}

function drawGroup({ title, line, cards }, number) {
  const group = copyOf(".group-template"), heading = group.querySelector("h2");
  heading.id = `gallery-group-${number}`;
  heading.textContent = heading.title = say(title);
  group.setAttribute("aria-labelledby", heading.id);
  group.querySelector(".group-line span").textContent = say(line);
  if (number) group.querySelector(".hint").remove();  // the first group has it
  group.append(...cards.map(drawCard));
  return group;
}

element.querySelector(".gallery").hidden = !props.value.length;
element.querySelector(".groups").append(...props.value.map(drawGroup));
const hint = element.querySelector(".hint");

// The example of a link or of an earlier chat, with the budget and the range of that. Undefined keeps the example's own.
document.addEventListener("longva:open-example", ({ detail: { id, sha256, budget, start, end } }) => {
  const choices = props.value.flatMap(({ cards }) => cards.map(({ choice }) => choice));
  const choice = choices.find((one) => one.id === id || one.sha256 === sha256);
  if (choice) pick({ ...choice, budget: budget ?? choice.budget, start, end });
});

// While a file is selected, the cards are a strip; the button shows them in full.
const gallery = element.querySelector(".gallery"), toggle = element.querySelector(".gallery-toggle");
function setCompact(isCompact) {
  gallery.classList.toggle("compact", isCompact);
  toggle.setAttribute("aria-expanded", !isCompact);
}
toggle.addEventListener("click", () => setCompact(!gallery.classList.contains("compact")));
document.addEventListener("longva:file-changed", ({ detail: field }) => {
  toggle.hidden = !field;
  setCompact(Boolean(field));
});

// The hint is shown until this browser has opened a first file.
function dismissHint() {
  if (hint) hint.hidden = true;
  try { localStorage.setItem(SEEN, "1"); } catch { /* storage is disabled: the hint returns next time */ }
}

function isFirstVisit() {
  try { return !localStorage.getItem(SEEN); } catch { return true; }
}

if (hint && isFirstVisit()) {
  hint.hidden = false;
  // Media events do not bubble, so they are captured.
  for (const [name, selector] of [["loadstart", PLAYER], ["load", PICTURE]])
    document.addEventListener(name, ({ target }) => { if (target.matches?.(selector)) dismissHint(); }, true);
}
