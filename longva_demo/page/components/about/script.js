// The selected file. `props.value` is `source_facts`, or null. Its notes come from the library and are in English.
const about = element.querySelector(".about"), notes = element.querySelector(".notes");

function draw(value) {
  const { name, facts, notes: texts = [] } = value;
  about.replaceChildren(...(facts ? [make("b", "", name), ` ${say(facts)}`] : []));
  notes.replaceChildren(...texts.map((text) => make("li", "", text)));
  about.hidden = !facts;
  notes.hidden = !texts.length;
}

watch("value", () => { if (selection.isCurrent(props.value)) draw(props.value || {}); });
document.addEventListener("longva:file-changed", () => draw({}));
draw({});
