// What several scripts of the page need.
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};

// A button of the row under an answer.
function makeTool(name, act) {
  const button = make("button", "tool", say(`tool.${name}`));
  button.type = "button";
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
