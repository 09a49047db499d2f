// Gradio makes a toast's head a button that holds another button, which screen readers cannot tell apart. The outer one
// only folds the line away; closing stays.
function flatten(toasts) {
  for (const head of toasts.querySelectorAll(".toast-header[role=button]")) {
    head.removeAttribute("role");
    head.removeAttribute("tabindex");
  }
}
new MutationObserver(() => flatten(document)).observe(document.documentElement, { childList: true, subtree: true });
