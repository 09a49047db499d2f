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
let waiting = [];  // those among them that wait for the end of an upload, which they are about

function take(text) {
  asking.push({ text, at: performance.now() });
  document.dispatchEvent(new CustomEvent("longva:asked"));
  return "";
}

// Ends once the question may be asked; throws where it was taken back, which ends the event.
async function ready() {
  const one = asking.find(({ isOnItsWay }) => !isOnItsWay);
  one.isOnItsWay = true;
  if (!selection.isUploading()) return;
  await new Promise((go, stop) => {
    waiting.push({ text: one.text, go, stop });
    announceWaiting();
  }).catch(() => {
    asking.splice(asking.indexOf(one), 1);
    restore(one.text);
    throw new Error("the question was taken back");
  });
  one.at = performance.now();
}

// The upload has ended: they are asked, or come back where it came to nothing.
function settleWaiting(isThere) {
  for (const { go, stop } of waiting.splice(0)) (isThere ? go : stop)();
  announceWaiting();
}

const announceWaiting = () =>
  document.dispatchEvent(new CustomEvent("longva:waiting", { detail: waiting.map(({ text }) => text) }));
const takeBack = () => settleWaiting(false);
document.addEventListener("longva:uploaded", ({ detail }) => settleWaiting(detail));

// The inputs of the event that asks; Gradio read the fields.
function asked([, ...fields]) {
  const { text, at } = asking.shift();
  return [text, ...selection.counting(fields.slice(0, -1)), at];
}

Object.assign(window, { restore, returned, take, takeBack, ready, asked });
