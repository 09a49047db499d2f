// What the visitor has selected: file, range and budget, as the page itself knows it. The server never sets a field,
// because a late reply would undo what the visitor did since. All times are in ms on the page's own clock. A reply
// about a selection carries the time of its request, `asked_at`.
const FIELDS = { start: "#start", end: "#end" };
const now = () => performance.now();
const editedAt = { start: 0, end: 0 };  // when the visitor last typed into each field
const uploads = new Map();  // running uploads: start time → function that cancels it
let activeField = null;  // whose file is selected, "video" or "picture"; null: none yet, or it was removed
let chosenAt = 0;  // when the file was chosen
let changedAt = 0;  // when it replaced the previous one
let askedAt = 0;  // when the newest request about a selection was sent
let isArriving = false;  // an upload is complete, but Gradio has not put it into its field yet
let example = null, range = null;
let exampleId = "";  // of the selected example; "" if the visitor's own file is selected, or none
let pending = null, good = null;  // the fields of the newest request, and of the newest one whose file could be used
let isRestoring = false;
let reopened = null;  // the visitor's own file from before a reload, as `good`
let awaited = null;  // the range and budget for the file that an earlier chat waits for
let sampled = null;  // the sampled view: {duration, trail, …}

document.addEventListener("input", ({ target }) => {
  for (const [name, place] of Object.entries(FIELDS)) if (target.closest?.(place)) editedAt[name] = now();
}, true);

document.addEventListener("longva:view", ({ detail }) => { sampled = detail.view; });

const announce = (name, detail) => document.dispatchEvent(new CustomEvent(`longva:${name}`, { detail }));

// Another file is selected: components drop what they show of the old one.
function changeFile(field) {
  activeField = field;
  changedAt = askedAt = now();
  announce("file-changed", field);
}

// Values for start and end after an action that began at `since`: undefined keeps what was typed later.
const clearedRange = (since) => ["start", "end"].map((name) => editedAt[name] > since ? undefined : "");

function suggestedQuestions() {
  if (exampleId) return example.questions;
  return (selection.ownQuestions[activeField] ?? []).map((one) => one.key ? say(one) : one);
}

function cancelUploads() {
  for (const cancel of uploads.values()) cancel();
  uploads.clear();
  endUpload(false);
}

function endUpload(isComplete) {
  isArriving = false;
  announce("upload-ended", isComplete);
}

const selection = {
  // Questions about the visitor's own file, by kind; messages or plain texts. The suggestions set them.
  ownQuestions: { video: [], picture: [] },

  // An example was picked: {id, file, kind, budget, questions, start, end}.
  pickExample(card) {
    example = card;
    chosenAt = now();
    cancelUploads();
    document.querySelector(`#${card.kind}-tab-button`)?.click();
  },

  // Values of video, picture, budget, start, end and suggestions for the picked example.
  exampleFields() {
    changeFile(example.kind);
    exampleId = example.id;
    const file = { ...example.file, url: serverUrl(example.file.url), meta: { _type: "gradio.FileData" } };
    const files = example.kind === "video" ? [file, null] : [null, file];
    return [...files, example.budget, example.start ?? "", example.end ?? "", example.questions];
  },

  // A file was uploaded into `field`. Returns the other field, budget, start, end and suggestions.
  uploaded(field) {
    changeFile(field);
    exampleId = "";
    endUpload(true);
    const { budget, start, end } = awaited ?? {}, [clearedStart, clearedEnd] = clearedRange(chosenAt);
    awaited = null;
    return [null, budget, start ?? clearedStart, end ?? clearedEnd, suggestedQuestions()];
  },

  // The file of the newest request can be used.
  confirm() {
    good = pending;
    announce("confirmed", good);
  },

  // Select again what was confirmed before a reload.
  reopen(confirmed) {
    good = reopened = confirmed;
    document.querySelector(`#${good.field}-tab-button`)?.click();
    announce("reopen");
  },
  reopened: () => reopened,
  isRestoring: () => isRestoring,

  // Values of video, picture, budget, start, end and suggestions, as they were for the last file that could be used.
  restoredFields() {
    const last = good;
    good = null;  // should its file fail too, the fields are emptied
    isRestoring = true;
    changeFile(last?.field ?? null);
    isRestoring = false;
    exampleId = last?.id ?? "";
    return last ? [...last.fields, last.questions] : [null, null, undefined, "", "", []];
  },

  // The next upload gets this budget and range: {budget, start, end}.
  awaitFile(fields) { awaited = fields; },

  // `field` was emptied. Returns start, end and suggestions.
  removed(field) {
    if (field !== activeField) return [undefined, undefined, undefined];
    chosenAt = now();
    exampleId = "";
    changeFile(null);
    return ["", "", []];
  },

  // A range in seconds as it is typed; null means the beginning or the end.
  typedRange: (start, end, duration) =>
    [start ? formatTypedTime(start) : "", end === null || end >= duration - 0.005 ? "" : formatTypedTime(end)],

  // The visitor chose a range on the timeline or around a frame.
  setRange(start, end, duration) { range = selection.typedRange(start, end, duration); },
  rangeFields: () => range,

  // A field lost the focus. Throws, which ends Gradio's event, if the server has already seen its text.
  left(name) {
    if (editedAt[name] <= askedAt) throw new Error("the field did not change");
  },

  // Inputs of an event: video, picture, …, and the time in the last place. Gradio reads the fields late, because it
  // waits for uploads; the file that is selected now is the one that is meant.
  requestInputs(fields) {
    askedAt = now();
    const inputs = selection.withActiveFile(fields.slice(0, -1));
    pending = { fields: inputs.slice(0, 5), field: activeField, id: exampleId, questions: suggestedQuestions() };
    return [...inputs, askedAt];
  },

  // `fields` begin with video and picture; only the selected one keeps its file.
  withActiveFile: ([video, picture, ...others]) =>
    [activeField === "picture" ? null : video, activeField === "video" ? null : picture, ...others],

  // The newest request failed, so earlier replies about this file are current again.
  requestFailed() {
    askedAt = changedAt;
    announce("request-failed");
  },

  // Whether a reply of the server is about the present selection.
  isCurrent: (value) => (value?.asked_at ?? 0) >= askedAt,
  // For components that Gradio adds later, when their tab is first opened.
  view: () => sampled,
  isUploading: () => uploads.size > 0 || isArriving,
  chosenAt: () => chosenAt,
  exampleId: () => exampleId,
  isExample: (sha256) => example?.sha256 === sha256,
  cancelUploads,

  // Sends an upload. If another file is chosen meanwhile, aborts it and resolves with `canceledReply`.
  async upload(send, canceledReply) {
    cancelUploads();
    const aborter = new AbortController(), startedAt = chosenAt = now();
    return new Promise((resolve, reject) => {
      uploads.set(startedAt, () => { aborter.abort(); resolve(canceledReply); });
      const finish = (settle, hasFile = false) => {
        if (!uploads.delete(startedAt)) return;
        isArriving = hasFile;
        if (!isArriving) endUpload(false);
        settle();
      };
      send(aborter.signal).then(async (reply) => {
        const files = reply.ok ? await reply.clone().json() : [];
        finish(() => resolve(reply), files.length > 0);
      }).catch((error) => finish(() => reject(error)));
    });
  },
};

window.selection = selection;
