// The focus does not fall to the page's body when what has it is drawn again, hidden or removed: it goes to what took
// that place, or to the nearest part that stays. Not after a tap: a text field would open the keyboard on the screen.
const HOMES = [
  [".chat", ".chat-log"],
  ["#question, #suggestions, #waiting", "#question textarea"],
  [".timeline", ".track"],
  [".needles", ".needles-bar button:not([hidden])"],
  ["#player", "#player button"],
  ["#picture", "#picture button"],
  [".history", ".history > summary"],
  ["#frames", ".film"],
];
let lost = null;  // what had the focus last: {node, around, name, isVisible}
let isTapped = false;

const labelOf = (node) => `${node.tagName} ${node.className} ${node.getAttribute("aria-label") ?? node.textContent}`;
const isShown = (node) => node.isConnected && node.getClientRects().length > 0 && !node.disabled;

function around(node) {
  const all = [];
  for (let one = node.parentElement; one && one !== document.body; one = one.parentElement) all.push(one);
  return all;
}

function homeOf({ around: all, name }) {
  for (const one of all.filter((part) => part.isConnected)) {
    const same = [...one.querySelectorAll("button, a, summary")].find((node) => labelOf(node) === name && isShown(node));
    const [, place] = HOMES.find(([part]) => one.matches(part)) ?? [];
    const home = same ?? [...(place ? document.querySelectorAll(place) : [])].find(isShown);
    if (home || place) return home;
  }
  return null;
}

function keepFocus() {
  if (!lost || document.activeElement !== document.body || isShown(lost.node)) return;
  homeOf(lost)?.focus({ preventScroll: true, focusVisible: lost.isVisible });
}

document.addEventListener("focusin", ({ target }) => {
  const isVisible = target.matches(":focus-visible");
  lost = isTapped ? null : { node: target, around: around(target), name: labelOf(target), isVisible };
});
// Whoever clicks beside everything means it.
document.addEventListener("focusout", ({ target }) => {
  setTimeout(() => { if (lost?.node === target && document.activeElement === document.body && isShown(target)) lost = null; });
  setTimeout(keepFocus);
});
document.addEventListener("pointerdown", ({ pointerType }) => {
  isTapped = pointerType === "touch";
  if (document.activeElement === document.body) lost = null;
}, true);
document.addEventListener("keydown", () => { isTapped = false; }, true);
new MutationObserver(keepFocus).observe(document.documentElement, { childList: true, subtree: true });
