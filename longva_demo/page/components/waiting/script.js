// The question that waits for the end of an upload; the button takes it back.
const box = element.querySelector(".waiting");
document.addEventListener("longva:waiting", ({ detail: question }) => {
  box.hidden = !question;
  box.firstChild.textContent = question ? say("waiting.upload", { question }) : "";
});
element.querySelector("button").addEventListener("click", takeBack);
