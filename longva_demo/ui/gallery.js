// A click on a card picks its example. A card that the mouse or the keyboard points at plays its preview, which is
// fetched only then; a finger picks at once, and whoever asked for less motion sees the still.
const SEEN = "longva-gallery-seen";
const still = matchMedia("(prefers-reduced-motion: reduce)");
const hint = element.querySelector(".hint");

async function play(card) {
  if (still.matches || !card.dataset.preview || card.querySelector(".moving")) return;
  const moving = new Image();
  moving.className = "moving";
  moving.alt = "";
  moving.src = (window.gradio_config?.root || location.origin) + card.dataset.preview;
  try { await moving.decode(); } catch { return; }  // the still stays
  if (isPointedAt(card) && !card.querySelector(".moving")) card.querySelector("img").after(moving);
}

const isPointedAt = (card) => card.matches(":focus-visible") || card.matches(":hover");

function rest(card) {
  if (!isPointedAt(card)) card.querySelector(".moving")?.remove();
}

for (const card of element.querySelectorAll(".card")) {
  card.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") play(card); });
  card.addEventListener("pointerleave", () => rest(card));
  card.addEventListener("focus", () => { if (card.matches(":focus-visible")) play(card); });
  card.addEventListener("blur", () => rest(card));
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
