// Gradio makes a toast's head a button that holds another button, which screen readers cannot tell apart. The outer one
// only folds the line away; closing stays.
function flatten(toasts) {
  for (const head of toasts.querySelectorAll(".toast-header[role=button]")) {
    head.removeAttribute("role");
    head.removeAttribute("tabindex");
  }
}

// Gradio would close all lines of a kind ten seconds after the first of them; each is shown for as long (errors.py).
const SHOWN_MILLISECONDS = 10_000;
const closing = new WeakMap();  // each toast's {count, timer}
function expire(toast) {
  const count = toast.querySelectorAll("[data-testid=toast-text]").length, { count: before, timer } = closing.get(toast) ?? {};
  if (count === before || toast.querySelector(".timer")) return;
  clearTimeout(timer);
  const close = () => toast.querySelector(".toast-close")?.click();
  closing.set(toast, { count, timer: setTimeout(close, SHOWN_MILLISECONDS) });
}

new MutationObserver(() => {
  flatten(document);
  document.querySelectorAll(".toast-body").forEach(expire);
}).observe(document.documentElement, { childList: true, subtree: true });
