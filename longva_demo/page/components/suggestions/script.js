// Draws the suggested questions as buttons, and before them those that came back while their field held another
// (draft.js); a click asks.
const box = element.querySelector(".chips");
function ask(question) {
  const place = returned.indexOf(question);
  if (place >= 0) { returned.splice(place, 1); draw(); }
  take(question);
  trigger("choose");
}
function draw() {
  const suggested = (props.value || []).filter((question) => !returned.includes(question));
  box.replaceChildren(...[...returned, ...suggested].map((question) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.textContent = question;
    button.title = say("suggestions.title");
    button.addEventListener("click", () => ask(question));
    return button;
  }));
}
document.addEventListener("longva:returned", draw);
watch("value", draw);
draw();
