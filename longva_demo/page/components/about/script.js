// What was loaded. `props.value` is `source_facts`, or null. Its notes are the library's own, in English.
const about = element.querySelector(".about"), notes = element.querySelector(".notes");
function draw(value) {
  const { name, facts, notes: lines = [] } = value;
  about.replaceChildren(...(facts ? [make("b", "", name), ` ${say(facts)}`] : []));
  notes.replaceChildren(...lines.map((note) => make("li", "", note)));
  about.hidden = !facts;
  notes.hidden = !lines.length;
}
watch("value", () => { if (selection.isCurrent(props.value)) draw(props.value || {}); });
document.addEventListener("longva:turned", () => draw({}));
draw({});
