// A larger view of the frame under the pointer or the focus, beside it and over everything, so that nothing moves.
// It goes with Escape, and stays while the pointer is on its foot, which touches the frame; its picture lets the
// pointer through to the frames that it covers.
const loupe = element.querySelector(".loupe");
const loupePicture = loupe.querySelector(".loupe-picture");
const loupeText = loupe.querySelector(".loupe-text");
const OPEN_AFTER = 180, CLOSE_AFTER = 160, MARGIN = 8;
let shown = null, timer = null, focusing = 0;

const numberOf = (node) => {
  const item = node.closest?.(".film-frames > li");
  return item ? Array.prototype.indexOf.call(list.children, item) : -1;
};

// Drops what would open or close it later.
function settle() {
  clearTimeout(timer);
  cancelAnimationFrame(focusing);
}

function openLoupe(number) {
  settle();
  const frame = frames[number];
  if (!frame || frame.seconds === undefined) return;
  shown = number;
  paint(loupePicture, frame);
  loupeText.textContent = say("loupe.text", { time: formatTime(frame.seconds, 1), index: frame.index });
  loupe.hidden = false;
  place();
}

function closeLoupe() {
  settle();
  shown = null;
  loupe.hidden = true;
}

// Above the frame, or below it where there is no room.
function place() {
  if (shown === null) return;
  const frame = list.children[shown].getBoundingClientRect(), view = list.getBoundingClientRect();
  if (frame.bottom < view.top || frame.top > view.bottom) { closeLoupe(); return; }
  const { width, height } = loupe.getBoundingClientRect();
  const left = frame.left + (frame.width - width) / 2, most = document.documentElement.clientWidth - width - MARGIN;
  loupe.style.left = `${Math.max(MARGIN, Math.min(most, left))}px`;
  const isAbove = frame.top - height >= MARGIN;
  loupe.classList.toggle("below", !isAbove);
  loupe.style.top = `${isAbove ? frame.top - height : Math.min(frame.bottom, innerHeight - height)}px`;
}

const later = (action, delay) => { clearTimeout(timer); timer = setTimeout(action, delay); };
list.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  const number = numberOf(event.target);
  if (number >= 0) later(() => openLoupe(number), shown === null ? OPEN_AFTER : 60);
});
list.addEventListener("pointerleave", () => later(closeLoupe, CLOSE_AFTER));
loupe.addEventListener("pointerenter", () => clearTimeout(timer));
loupe.addEventListener("mousedown", (event) => event.preventDefault());  // a press leaves the focus on the frame
loupe.addEventListener("pointerleave", () => later(closeLoupe, CLOSE_AFTER));
// Some browsers scroll to the frame that gets the focus only after the event.
list.addEventListener("focusin", ({ target }) => {
  if (target.matches(":focus-visible")) focusing = requestAnimationFrame(() => openLoupe(numberOf(target)));
});
list.addEventListener("focusout", closeLoupe);
// A finger does not hover: it opens the larger view with the tap that plays.
list.addEventListener("click", (event) => { if (event.pointerType === "touch") openLoupe(numberOf(event.target)); });
loupe.querySelector("button").addEventListener("click", () => { if (shown !== null) lookCloser(shown); });
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) closeLoupe(); });
element.addEventListener("keydown", (event) => { if (event.key === "Escape") closeLoupe(); });
document.addEventListener("scroll", place, { capture: true, passive: true });
draw();
