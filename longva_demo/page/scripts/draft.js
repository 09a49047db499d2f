// The question field is the visitor's: a question that comes back from the server never takes the place of what was
// written since. It runs in the page's head, before restart.js.
function restore(question) {
  const field = document.querySelector("#question textarea");
  if (!question || field?.value === question || returned.includes(question)) return;
  if (!field || field.value.trim()) {
    returned.unshift(question);  // offered above the field (suggestions.js)
    document.dispatchEvent(new CustomEvent("longva:returned"));
    return;
  }
  field.value = question;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
const returned = [];

// Questions on their way to the server, in their order: {text, at}. `at` is when they were asked, on the page's clock.
const asking = [];
let waiting = null;  // the one among them that waits for the end of an upload, which it is about: {text, go, stop}
let unheard = "";  // one that was sent, while the server has not shown anything since

function take(text) {
  asking.push({ text, at: performance.now() });
  document.dispatchEvent(new CustomEvent("longva:asked"));
}

// The field is read and emptied as the key goes down: Gradio's event comes later, when the next question may be there.
function takeTyped() {
  const field = document.querySelector("#question textarea");
  take(field.value);
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
document.addEventListener("keypress", ({ key, shiftKey, target }) => {
  if (key === "Enter" && !shiftKey && target.matches?.("#question textarea")) takeTyped();
}, true);
document.addEventListener("click", ({ target }) => { if (target.closest?.("#question .submit-button")) takeTyped(); }, true);

// Ends once the question may be asked; throws where it was taken back, which ends the event.
async function ready() {
  const one = asking.find(({ isOnItsWay }) => !isOnItsWay);
  one.isOnItsWay = true;
  if (!selection.isUploading()) return;
  await new Promise((go, stop) => {
    if (waiting) { stop(); return; }  // one at a time
    waiting = { text: one.text, go, stop };
    announceWaiting();
  }).catch(() => {
    asking.splice(asking.indexOf(one), 1);
    restore(one.text);
    throw new Error("the question was taken back");
  });
  one.at = performance.now();
}

// The upload has ended: the question is asked, or comes back where it came to nothing.
function settleWaiting(isThere) {
  const { go, stop } = waiting ?? {};
  waiting = null;
  (isThere ? go : stop)?.();
  announceWaiting();
}

const announceWaiting = () => document.dispatchEvent(new CustomEvent("longva:waiting", { detail: waiting?.text }));
const takeBack = () => settleWaiting(false);
document.addEventListener("longva:uploaded", ({ detail }) => settleWaiting(detail));

// The inputs of the event that asks; Gradio read the fields.
function asked([, ...fields]) {
  const { text, at } = asking.shift();
  unheard = text;
  return [text, ...selection.counting(fields.slice(0, -1)), at];
}

const wasHeard = () => { unheard = ""; };

// The event came to nothing. Where the server has shown something since, it has given the question back itself.
function refused() {
  restore(unheard);
  unheard = "";
}

Object.assign(window, { restore, returned, take, takeBack, ready, asked, wasHeard, refused });
