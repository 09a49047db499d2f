// What several scripts of the page need.
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

// Plays the video from there. A browser may refuse to play; the position is set all the same.
function playFrom(seconds) {
  const player = document.querySelector("#player video");
  if (!player) return;
  player.currentTime = seconds;
  player.play().catch(() => {});
}
