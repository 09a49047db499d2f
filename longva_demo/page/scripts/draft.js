// The question field, and questions on their way to the server. The field belongs to the visitor: a question that the
// server returns never overwrites what was typed since. Times are in ms on the page's clock.
const FIELD = "#question textarea";
const returned = [];  // questions that came back while the field held another one; offered above it (suggestions)
const submitted = [];  // questions that Gradio's event has not picked up yet, oldest first: {text, at}
const waiting = [];  // questions that cannot be asked yet, oldest first: {text, at, resolve, reject}
let sending = null;  // the question that is asked now: {text, at}; null when its event has ended
let isAnswering = false;  // whether the transcript ends in an unfinished answer
let unconfirmed = "";  // the last question sent, until the server shows something

// Runs as the key goes down: when Gradio's own event arrives, the field may hold the next question.
function submitTyped() {
  const field = document.querySelector(FIELD);
  draft.submit(field.value);
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

// Asks the question that has waited longest, unless a file is being uploaded or an answer is being written.
function askNext() {
  if (waiting.length && !sending && !isAnswering && !selection.isUploading()) {
    const { text, resolve } = waiting.shift();
    sending = { text, at: performance.now() };
    resolve();
  }
  announceWaiting();
}

function announceWaiting() {
  const reason = selection.isUploading() ? "upload" : "answer";
  document.dispatchEvent(new CustomEvent("longva:waiting", { detail: waiting.map(({ text }) => ({ text, reason })) }));
}

// These questions return to the field.
function giveBack(questions) {
  for (const question of questions) {
    waiting.splice(waiting.indexOf(question), 1);
    draft.restore(question.text);
    question.reject(new Error("the question was withdrawn"));
  }
  announceWaiting();
}

const draft = {
  returned,
  waitingTexts: () => waiting.map(({ text }) => text),

  // Puts a question back into its field, or offers it above the field if that holds another one.
  restore(question) {
    const field = document.querySelector(FIELD);
    if (!question || field?.value === question || returned.includes(question)) return;
    if (!field || field.value.trim()) {
      returned.unshift(question);
      document.dispatchEvent(new CustomEvent("longva:returned"));
      return;
    }
    field.value = question;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  },

  submit(text) {
    submitted.push({ text, at: performance.now() });
    document.dispatchEvent(new CustomEvent("longva:asked"));
  },

  // Resolves once the question may be asked. Throws if it was withdrawn, which ends Gradio's event.
  ready() {
    const question = submitted.shift();
    if (!waiting.length && !sending && !isAnswering && !selection.isUploading()) {
      sending = question;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      waiting.push({ ...question, resolve, reject });
      announceWaiting();
    });
  },

  withdraw: (number) => giveBack([waiting[number]]),

  // Inputs of the event that asks: the question and its time take the place of the first and the last field.
  requestInputs([, ...fields]) {
    const { text, at } = sending;
    unconfirmed = text;
    return [text, ...selection.withActiveFile(fields.slice(0, -1)), at];
  },

  // The server has shown something, so from now on it returns the question itself if that fails.
  confirm() { unconfirmed = ""; },

  // The event that asks has failed.
  requestFailed() {
    draft.restore(unconfirmed);
    unconfirmed = "";
    draft.ended();
  },

  // The event that asks has ended.
  ended() {
    sending = null;
    askNext();
  },

  setAnswering(value) {
    if (isAnswering === value) return;
    isAnswering = value;
    askNext();
  },
};

document.addEventListener("keypress", ({ key, shiftKey, target }) => {
  if (key === "Enter" && !shiftKey && target.matches?.(FIELD)) submitTyped();
}, true);
document.addEventListener("click", ({ target }) => {
  if (target.closest?.("#question .submit-button")) submitTyped();
}, true);
// Questions that were asked before the present file was chosen are not about it, nor is it about those asked while its
// upload failed.
document.addEventListener("longva:file-changed", () =>
  giveBack(waiting.filter(({ at }) => at < selection.chosenAt())));
document.addEventListener("longva:upload-ended", ({ detail: isComplete }) => {
  if (!isComplete) giveBack(waiting.filter(({ at }) => at >= selection.chosenAt()));
  askNext();
});

window.draft = draft;
