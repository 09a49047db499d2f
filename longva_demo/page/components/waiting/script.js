// The question that waits for an upload; the button withdraws it.
const box = element.querySelector(".waiting");
document.addEventListener("longva:waiting", ({ detail: question }) => {
  box.hidden = !question;
  box.firstChild.textContent = question ? say("waiting.upload", { question }) : "";
});
element.querySelector("button").addEventListener("click", draft.withdraw);
