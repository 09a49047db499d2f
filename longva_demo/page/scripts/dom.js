// What several scripts of the page need.
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

// Whether `part` of a node is to be drawn again: its data are others than the last time.
const drawnParts = new WeakMap();
function hasChanged(node, part, data) {
  const parts = drawnParts.get(node) ?? {}, text = JSON.stringify(data) ?? "";
  drawnParts.set(node, parts);
  if (parts[part] === text) return false;
  parts[part] = text;
  return true;
}

// Text that stays the same is left alone: somebody may be selecting it.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A button of the row under an answer.
function makeTool(name, act) {
  const button = make("button", "tool", say(`tool.${name}`));
  button.type = "button";
  button.dataset.tool = name;
  button.title = say(`tool.${name}_title`);
  button.addEventListener("click", act);
  return button;
}

// Plays the video from there. A browser may refuse to play; the position is set all the same.
function playFrom(seconds) {
  const player = document.querySelector("#player video");
  if (!player) return;
  player.currentTime = seconds;
  player.play().catch(() => {});
}

// Copies a text. Browsers offer their clipboard to pages with https or on the same machine only, and may refuse it
// there too; the old way, a selected field, is left then.
async function copyText(text) {
  try { return await navigator.clipboard.writeText(text); } catch { /* the old way, below */ }
  const field = make("textarea", "copied"), focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
}

Object.assign(window, { make, hasChanged, write, makeTool, playFrom, copyText });
