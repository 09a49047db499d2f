// The questions that wait for the end of an upload; the button takes them back.
const box = element.querySelector(".waiting");
document.addEventListener("longva:waiting", ({ detail: questions }) => {
  box.hidden = questions.length === 0;
  box.firstChild.textContent = say("waiting.upload", { questions: questions.join(" · ") });
});
element.querySelector("button").addEventListener("click", takeBack);
