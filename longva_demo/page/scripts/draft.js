// The question field, and questions on their way to the server. The field belongs to the visitor: a question that the
// server returns never overwrites what was typed since.
const FIELD = "#question textarea";
const returned = [];  // questions that came back while the field held another one; offered above it (suggestions)
const asking = [];  // questions on their way, oldest first: {text, at, isClaimed}; `at` is in ms on the page's clock
let waiting = null;  // the question that waits for the upload it is about: {text, resolve, reject}
let unconfirmed = "";  // the last question sent, until the server shows something

// Runs as the key goes down: when Gradio's own event arrives, the field may hold the next question.
function submitTyped() {
  const field = document.querySelector(FIELD);
  draft.submit(field.value);
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

// Ends the wait for an upload: the question is asked, or returns to its field if there is no file.
function settleWaiting(isComplete) {
  const { resolve, reject } = waiting ?? {};
  waiting = null;
  (isComplete ? resolve : reject)?.();
  announceWaiting();
}

const announceWaiting = () => document.dispatchEvent(new CustomEvent("longva:waiting", { detail: waiting?.text }));

const draft = {
  returned,

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
    asking.push({ text, at: performance.now() });
    document.dispatchEvent(new CustomEvent("longva:asked"));
  },

  // Resolves once the question may be asked. Throws if it was withdrawn, which ends Gradio's event.
  async ready() {
    const question = asking.find(({ isClaimed }) => !isClaimed);
    question.isClaimed = true;
    if (!selection.isUploading()) return;
    await new Promise((resolve, reject) => {
      if (waiting) { reject(); return; }  // only one question waits at a time
      waiting = { text: question.text, resolve, reject };
      announceWaiting();
    }).catch(() => {
      asking.splice(asking.indexOf(question), 1);
      draft.restore(question.text);
      throw new Error("the question was withdrawn");
    });
    question.at = performance.now();
  },

  withdraw: () => settleWaiting(false),

  // Inputs of the event that asks: the question and its time take the place of the first and the last field.
  requestInputs([, ...fields]) {
    const { text, at } = asking.shift();
    unconfirmed = text;
    return [text, ...selection.withActiveFile(fields.slice(0, -1)), at];
  },

  // The server has shown something, so from now on it returns the question itself if that fails.
  confirm() { unconfirmed = ""; },

  // The event that asks has failed.
  requestFailed() {
    draft.restore(unconfirmed);
    unconfirmed = "";
  },
};

document.addEventListener("keypress", ({ key, shiftKey, target }) => {
  if (key === "Enter" && !shiftKey && target.matches?.(FIELD)) submitTyped();
}, true);
document.addEventListener("click", ({ target }) => {
  if (target.closest?.("#question .submit-button")) submitTyped();
}, true);
document.addEventListener("longva:upload-ended", ({ detail: isComplete }) => settleWaiting(isComplete));

window.draft = draft;
