// Below an answer: the lines of what is said and written that the model was given. Below a refusal: those that fit the
// question.
function drawLines(node, { lines = [], is_refusal: isRefusal }) {
  if (!hasChanged(node, "lines", [lines, isRefusal])) return;
  node.querySelector(".lines")?.remove();
  if (!lines.length) return;
  const box = make("details", "lines"), list = make("ol", "");
  const head = isRefusal ? say("lines.found") : say("lines.given", { count: lines.length });
  box.open = Boolean(isRefusal);
  list.append(...lines.map((line) => makeLine(...line)));
  box.append(make("summary", "", head), list);
  node.querySelector(".tools").before(box);
}
