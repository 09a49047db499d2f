// A larger view of the frame under the pointer or the focus. It floats beside the frame, so that nothing moves. Escape
// closes it. It stays while the pointer is on its foot, which touches the frame; its picture lets the pointer through
// to the frames that it covers.
//
// element: the component's root, which contains the loupe. list: the list of frames. getFrame(index): {seconds, index,
// …}. indexOf(node): the frame that a node belongs to, or -1. paint(node, frame): draws a frame's thumbnail.
// sharpUrl(frame): the URL of a larger picture, or null. onCloser(index): the loupe's button was clicked.
function createLoupe({ element, list, getFrame, indexOf, paint, sharpUrl, onCloser }) {
  const OPEN_DELAY_MS = 180, MOVE_DELAY_MS = 60, CLOSE_DELAY_MS = 160, SHARP_DELAY_MS = 250, MARGIN = 8;
  const loupe = element.querySelector(".loupe");
  const picture = loupe.querySelector(".loupe-picture"), text = loupe.querySelector(".loupe-text");
  let shown = null, timer = null, sharpTimer = null, focusRequest = 0;

  function cancelPending() {
    clearTimeout(timer);
    cancelAnimationFrame(focusRequest);
  }

  function open(index) {
    cancelPending();
    const frame = getFrame(index);
    if (!frame || frame.seconds === undefined) return;
    shown = index;
    delete picture.dataset.sharp;
    paint(picture, frame);
    text.textContent = say("loupe.text", { time: formatTime(frame.seconds, 1), index: frame.index });
    loupe.hidden = false;
    position();
    clearTimeout(sharpTimer);
    sharpTimer = setTimeout(() => sharpen(index, frame), SHARP_DELAY_MS);
  }

  // Replaces the thumbnail by a larger picture, if the pointer rests here. Without one, the thumbnail stays.
  async function sharpen(index, frame) {
    const url = sharpUrl(frame), image = new Image();
    if (!url || shown !== index) return;
    image.src = url;
    try { await image.decode(); } catch { return; }
    if (shown !== index || getFrame(index) !== frame) return;
    Object.assign(picture.style, { backgroundImage: `url(${url})`, backgroundSize: "100% 100%", backgroundPosition: "0 0" });
    picture.dataset.sharp = index;
  }

  function close() {
    cancelPending();
    shown = null;
    loupe.hidden = true;
  }

  // Above the frame, or below it if there is no room.
  function position() {
    if (shown === null) return;
    const frame = list.children[shown].getBoundingClientRect(), view = list.getBoundingClientRect();
    if (frame.bottom < view.top || frame.top > view.bottom) { close(); return; }
    const { width, height } = loupe.getBoundingClientRect();
    const left = frame.left + (frame.width - width) / 2;
    const maxLeft = document.documentElement.clientWidth - width - MARGIN;
    loupe.style.left = `${Math.max(MARGIN, Math.min(maxLeft, left))}px`;
    const isAbove = frame.top - height >= MARGIN;
    loupe.classList.toggle("below", !isAbove);
    loupe.style.top = `${isAbove ? frame.top - height : Math.min(frame.bottom, innerHeight - height)}px`;
  }

  const later = (action, delay) => { clearTimeout(timer); timer = setTimeout(action, delay); };
  list.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const index = indexOf(event.target);
    if (index >= 0) later(() => open(index), shown === null ? OPEN_DELAY_MS : MOVE_DELAY_MS);
  });
  list.addEventListener("pointerleave", () => later(close, CLOSE_DELAY_MS));
  loupe.addEventListener("pointerenter", () => clearTimeout(timer));
  loupe.addEventListener("mousedown", (event) => event.preventDefault());  // keeps the focus on the frame
  loupe.addEventListener("pointerleave", () => later(close, CLOSE_DELAY_MS));
  // Some browsers scroll to the focused frame only after the event.
  list.addEventListener("focusin", ({ target }) => {
    if (target.matches(":focus-visible")) focusRequest = requestAnimationFrame(() => open(indexOf(target)));
  });
  list.addEventListener("focusout", close);
  // A finger cannot hover: the tap that plays opens the loupe too.
  list.addEventListener("click", (event) => { if (event.pointerType === "touch") open(indexOf(event.target)); });
  loupe.querySelector("button").addEventListener("click", () => { if (shown !== null) onCloser(shown); });
  document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) close(); });
  element.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  document.addEventListener("scroll", position, { capture: true, passive: true });

  return { close };
}
