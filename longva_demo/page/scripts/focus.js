// Keeps the keyboard focus when its node is redrawn, hidden or removed: it moves to the replacement, or to the nearest
// part that remains, instead of the page's body. Not after a tap, where a focused text field would open the keyboard.
const FALLBACKS = [  // [part of the page, where the focus goes there]
  [".chat", ".chat-log"],
  ["#question, #suggestions", "#question textarea"],
  [".find", ".find button:not([hidden])"],
  [".timeline", ".track"],
  [".scenes", ".scenes-bar button:not([hidden])"],
  [".needles", ".needles-bar button:not([hidden])"],
  ["#player", "#player button"],
  ["#picture", "#picture button"],
  [".history", ".history > summary"],
  ["#frames", ".film"],
];
let last = null;  // the node that had the focus last: {node, ancestors, label, isVisible}
let isTapped = false;

const labelOf = (node) => `${node.tagName} ${node.className} ${node.getAttribute("aria-label") ?? node.textContent}`;
const isFocusable = (node) => node.isConnected && node.getClientRects().length > 0 && !node.disabled;

function ancestorsOf(node) {
  const ancestors = [];
  for (let one = node.parentElement; one && one !== document.body; one = one.parentElement) ancestors.push(one);
  return ancestors;
}

function findReplacement({ ancestors, label }) {
  for (const ancestor of ancestors.filter((one) => one.isConnected)) {
    const same = [...ancestor.querySelectorAll("button, a, summary")]
      .find((node) => labelOf(node) === label && isFocusable(node));
    const [, fallback] = FALLBACKS.find(([part]) => ancestor.matches(part)) ?? [];
    const found = same ?? [...(fallback ? document.querySelectorAll(fallback) : [])].find(isFocusable);
    if (found || fallback) return found;
  }
  return null;
}

function restoreFocus() {
  if (!last || document.activeElement !== document.body || isFocusable(last.node)) return;
  findReplacement(last)?.focus({ preventScroll: true, focusVisible: last.isVisible });
}

document.addEventListener("focusin", ({ target }) => {
  const isVisible = target.matches(":focus-visible");
  last = isTapped ? null : { node: target, ancestors: ancestorsOf(target), label: labelOf(target), isVisible };
});
document.addEventListener("focusout", ({ target }) => {
  // The node is still there, so the visitor has clicked beside everything: the focus stays on the body.
  setTimeout(() => {
    if (last?.node === target && document.activeElement === document.body && isFocusable(target)) last = null;
  });
  setTimeout(restoreFocus);
});
document.addEventListener("pointerdown", ({ pointerType }) => {
  isTapped = pointerType === "touch";
  if (document.activeElement === document.body) last = null;
}, true);
document.addEventListener("keydown", () => { isTapped = false; }, true);
new MutationObserver(restoreFocus).observe(document.documentElement, { childList: true, subtree: true });
