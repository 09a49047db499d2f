// Draws the suggested questions as buttons; a click asks.
const box = element.querySelector(".chips");
function draw() {
  box.replaceChildren(...(props.value || []).map((question) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.textContent = question;
    button.title = say("suggestions.title");
    button.addEventListener("click", () => trigger("choose", { question }));
    return button;
  }));
}
watch("value", draw);
draw();
