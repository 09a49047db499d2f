// The selected file. `props.value` is `source_facts`, or null, or says what is wrong with a file that was chosen. Its notes
// and problems come from the library and are in English. A problem stays until another file is chosen or a question is
// asked; the fields go back to the last file that could be used.
const about = element.querySelector(".about"), notes = element.querySelector(".notes");
const problem = element.querySelector(".problem");

function draw(value) {
  const { name, facts, notes: texts = [] } = value;
  about.replaceChildren(...(facts ? [make("b", "", name), ` ${say(facts)}`] : []));
  notes.replaceChildren(...texts.map((text) => make("li", "", text)));
  about.hidden = !facts;
  notes.hidden = !texts.length;
}

function showProblem(text) {
  problem.textContent = text;
  problem.hidden = !text;
  document.querySelector("#media").classList.toggle("has-problem", Boolean(text));
}

watch("value", () => {
  const value = props.value || {};
  if (!selection.isCurrent(value)) return;
  draw(value);
  if (value.problem) { showProblem(value.problem); trigger("restore"); } else if (value.facts) selection.confirm();
});
document.addEventListener("longva:file-changed", () => {
  draw({});
  if (!selection.isRestoring()) showProblem("");
});
document.addEventListener("longva:file-lost", ({ detail: name }) => showProblem(say("about.lost", { name })));
document.addEventListener("longva:reopen", () => trigger("restore"));
document.addEventListener("longva:asked", () => showProblem(""));
draw({});
