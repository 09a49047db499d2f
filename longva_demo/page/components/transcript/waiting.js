// Draws questions that are not asked yet, as turns below the others: {text, reason}, `reason` "upload" or "answer".
function drawWaiting(box, questions) {
  box.replaceChildren(...questions.map(({ text, reason }, number) => {
    const turn = make("article", "waiting"), line = make("p", "waiting-line", say(`waiting.${reason}`));
    const cancel = make("button", "tool", say("waiting.back"));
    cancel.type = "button";
    cancel.title = say("waiting.back_title");
    cancel.addEventListener("click", () => draft.withdraw(number));
    line.append(cancel);
    turn.append(make("p", "question", text), line);
    return turn;
  }));
}
