// Suggested questions as buttons; a click asks. Before them come questions that the server returned while the field
// held another one (draft.js).
const box = element.querySelector(".chips");
selection.ownQuestions = JSON.parse(box.dataset.own);

function ask(question) {
  const position = draft.returned.indexOf(question);
  if (position >= 0) { draft.returned.splice(position, 1); draw(); }
  draft.submit(question);
  trigger("choose");
}

function draw() {
  const suggested = (props.value || []).filter((question) => !draft.returned.includes(question));
  box.replaceChildren(...[...draft.returned, ...suggested].map((question) => {
    const button = make("button", "chip", question);
    button.type = "button";
    button.title = say("suggestions.title");
    button.addEventListener("click", () => ask(question));
    return button;
  }));
}

document.addEventListener("longva:returned", draw);
watch("value", draw);
draw();
