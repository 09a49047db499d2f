// A click on a card picks its example. A card that the mouse or the keyboard points at plays its preview, which is
// fetched only then; a finger picks at once, and whoever asked for less motion sees the still.
const SEEN = "longva-gallery-seen";
const still = matchMedia("(prefers-reduced-motion: reduce)");
const hint = element.querySelector(".hint");

// By card: what points at it, "pointer" or "focus". While a pointer leaves, Firefox still says that it hovers.
const pointing = new Map();

async function play(card) {
  if (still.matches || !card.dataset.preview || card.querySelector(".moving")) return;
  const moving = new Image();
  moving.className = "moving";
  moving.alt = "";
  moving.src = (window.gradio_config?.root || location.origin) + card.dataset.preview;
  try { await moving.decode(); } catch { return; }  // the still stays
  if (pointing.get(card).size && !card.querySelector(".moving")) card.querySelector("img").after(moving);
}

function point(card, what) {
  pointing.get(card).add(what);
  play(card);
}

function rest(card, what) {
  pointing.get(card).delete(what);
  if (!pointing.get(card).size) card.querySelector(".moving")?.remove();
}

for (const card of element.querySelectorAll(".card")) {
  pointing.set(card, new Set());
  card.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") point(card, "pointer"); });
  card.addEventListener("pointerleave", () => rest(card, "pointer"));
  card.addEventListener("focus", () => { if (card.matches(":focus-visible")) point(card, "focus"); });
  card.addEventListener("blur", () => rest(card, "focus"));
  card.addEventListener("click", () => {
    welcome();
    selection.choose(JSON.parse(card.dataset.choice));
    trigger("pick");
  });
}

// The hint, until something was looked at in this browser. Media events do not bubble: they are caught on the way down.
function welcome() {
  if (hint) hint.hidden = true;
  try { localStorage.setItem(SEEN, "1"); } catch { /* storage is switched off: it is shown again next time */ }
}

function isNew() {
  try { return !localStorage.getItem(SEEN); } catch { return true; }
}

if (hint && isNew()) {
  hint.hidden = false;
  document.addEventListener("loadstart", (event) => { if (event.target.matches?.("#player video")) welcome(); }, true);
  document.addEventListener("load", (event) => { if (event.target.matches?.("#picture img")) welcome(); }, true);
}
