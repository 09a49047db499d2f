// Gradio makes a toast's header a button that contains another button, which screen readers cannot tell apart. The
// outer one only folds the text away, so it stops being a button; the inner one closes.
function flattenHeaders() {
  for (const header of document.querySelectorAll(".toast-header[role=button]")) {
    header.removeAttribute("role");
    header.removeAttribute("tabindex");
  }
}

// Gradio merges toasts of one kind, and would close them all ten seconds after the first. Here each new text restarts
// the time, which is why errors.py gives toasts no duration.
const SHOWN_MS = 10_000;
const closing = new WeakMap();  // toast → {count, timer}
function scheduleClose(toast) {
  const count = toast.querySelectorAll("[data-testid=toast-text]").length;
  const { count: before, timer } = closing.get(toast) ?? {};
  if (count === before || toast.querySelector(".timer")) return;
  clearTimeout(timer);
  const close = () => toast.querySelector(".toast-close")?.click();
  closing.set(toast, { count, timer: setTimeout(close, SHOWN_MS) });
}

new MutationObserver(() => {
  flattenHeaders();
  document.querySelectorAll(".toast-body").forEach(scheduleClose);
}).observe(document.documentElement, { childList: true, subtree: true });
