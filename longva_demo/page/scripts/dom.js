// Small helpers that several components use.
const COPIED_MS = 2000;
// The selected file in its field. The cover of an upload (upload.js) has a view of its own.
const PLAYER = "#player video:not(.upload-view)", PICTURE = "#picture img:not(.upload-view)";
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

// Whether the data of a `part` of a node differ from the last call's, so that the part must be redrawn.
const drawnParts = new WeakMap();
function hasChanged(node, part, data) {
  const parts = drawnParts.get(node) ?? {}, text = JSON.stringify(data) ?? "";
  drawnParts.set(node, parts);
  if (parts[part] === text) return false;
  parts[part] = text;
  return true;
}

// Leaves unchanged text alone: the visitor may be selecting it.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A button for the row under an answer.
function makeTool(name, onClick) {
  const button = make("button", "tool", say(`tool.${name}`));
  button.type = "button";
  button.dataset.tool = name;
  button.title = say(`tool.${name}_title`);
  button.addEventListener("click", () => onClick(button));
  return button;
}

// A line of what is said or written, from a stranger's file: a button that plays the video there.
function makeLine(start, text, source) {
  const item = make("li", ""), button = make("button", "line"), quoted = make("bdi", "", text);
  const mark = make("i", "line-mark");
  button.type = "button";
  button.title = say(`words.from_${source}`);
  quoted.dir = "auto";
  mark.dataset.source = source;
  button.append(make("time", "", formatTime(start)), mark, quoted);
  button.addEventListener("click", () => { document.querySelector("#video-tab-button")?.click(); playFrom(start); });
  item.append(button);
  return item;
}

// Plays the video from `seconds`. A browser may refuse to play, but the position is set.
function playFrom(seconds) {
  const player = document.querySelector(PLAYER);
  if (!player) return;
  player.currentTime = seconds;
  player.play().catch(() => {});
}

// Shows the frame at `seconds`, paused. The frame browser scrolls to it.
function showMoment(seconds) {
  const player = document.querySelector(PLAYER);
  if (player) {
    player.pause();
    player.currentTime = seconds;
  }
  document.dispatchEvent(new CustomEvent("longva:moment", { detail: seconds }));
}

// Copies, and lets the button say so for a while.
async function copyFrom(button, text) {
  const label = button.textContent;
  await copyText(text);
  if (label === say("tool.copied")) return;
  button.textContent = say("tool.copied");
  setTimeout(() => { button.textContent = label; }, COPIED_MS);
}

// Browsers offer their clipboard API only on https and localhost, and may refuse it there. The fallback copies from a
// selected text field.
async function copyText(text) {
  try { return await navigator.clipboard.writeText(text); } catch { /* fall back */ }
  const field = make("textarea", "copied"), focused = document.activeElement;
  field.value = text;
  (focused?.closest("dialog") ?? document.body).append(field);  // a modal dialog makes everything else inert
  field.select();
  document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
}

// A modal dialog, which the event `longva:<name>` opens. Its button, Escape and a click outside close it, and the focus
// returns to what opened it.
function setUpPanel(dialog, name, onOpen) {
  document.addEventListener(`longva:${name}`, () => {
    if (dialog.open) return;
    dialog.showModal();
    onOpen?.();
  });
  dialog.querySelector(".popup-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", ({ target, clientX: x, clientY: y }) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    if (target === dialog && (x < left || x > right || y < top || y > bottom)) dialog.close();
  });
}

// The address of a path on this server, which may be mounted below the origin's root.
const serverUrl = (path) => `${window.gradio_config?.root || location.origin}${path}`;

Object.assign(window, { PLAYER, PICTURE, make, hasChanged, setText, makeTool, makeLine, playFrom, showMoment, copyFrom, setUpPanel, serverUrl });
