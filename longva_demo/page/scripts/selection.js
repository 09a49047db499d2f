// What the visitor has selected, as the page itself knows it. It runs in the page's head. The server is never asked what
// belongs into a field: a late answer would undo what the visitor did since. Every time here is in ms on this page's own
// clock. What the server says about a selection carries the time at which the page asked for it (`asked_at`).
const PLACES = { start: "#start", end: "#end" };
const now = () => performance.now();
const touched = { start: 0, end: 0 };  // when the visitor last wrote into each field
const uploads = new Map();  // those that are running, by the time at which they began
let kind = null;  // the field whose file counts, "video" or "picture"; null: nothing was chosen yet, or it was removed
let chosenAt = 0;  // when the file was chosen
let changedAt = 0;  // when another file took the place of the one that is shown
let askedAt = 0;  // the newest selection that the server was asked for
let isArriving = false;  // an upload is complete, and Gradio has not yet put it into its field
let example = null, range = null;

document.addEventListener("input", ({ target }) => {
  for (const [name, place] of Object.entries(PLACES)) if (target.closest?.(place)) touched[name] = now();
}, true);

const announce = (what, detail) => document.dispatchEvent(new CustomEvent(`longva:${what}`, { detail }));

// Another file counts from now on: what is shown of the old one goes at once.
function turn(field) {
  kind = field;
  changedAt = askedAt = now();
  announce("turned", field);
}

// The fields that an act which began at `since` may still empty; undefined leaves a field alone.
const emptied = (since) => ["start", "end"].map((name) => touched[name] > since ? undefined : "");

// What is being uploaded is no longer wanted.
function dropUploads() {
  for (const drop of uploads.values()) drop();
  uploads.clear();
  settleUpload(false);
}

function settleUpload(isThere) {
  isArriving = false;
  announce("uploaded", isThere);
}

const selection = {
  // A card was clicked: {file, kind, budget, questions}.
  choose(card) {
    example = card;
    chosenAt = now();
    dropUploads();
    document.querySelector(`#${card.kind}-tab-button`)?.click();
  },

  // Its file, budget and questions, for video, picture, budget, start, end and suggestions.
  chosen() {
    turn(example.kind);
    const file = { ...example.file, meta: { _type: "gradio.FileData" } };
    file.url = (window.gradio_config.root || location.origin) + file.url;
    const files = example.kind === "video" ? [file, null] : [null, file];
    return [...files, example.budget, "", "", example.questions];
  },

  // A file was uploaded into a field: for the other field, start, end and suggestions.
  uploaded(field) {
    turn(field);
    settleUpload(true);
    return [null, ...emptied(chosenAt), []];
  },

  // A field was emptied: for start, end and suggestions.
  removed(field) {
    if (field !== kind) return [undefined, undefined, undefined];
    turn(null);
    return ["", "", []];
  },

  // The visitor chose a range in seconds on the timeline or around a frame; null is the beginning or the end.
  narrow(start, end, duration) {
    range = [start ? moment(start) : "", end === null || end >= duration - 0.005 ? "" : moment(end)];
  },
  narrowed: () => range,

  // A field was left: throws, which ends the event, where nothing was written that the server was not asked about.
  left(name) {
    if (touched[name] <= askedAt) throw new Error("nothing was written");
  },

  // Fields on their way to the server: video, picture, …, and at the end the time. Gradio reads them late, for it waits
  // for uploads; the file that counts now is the one that is meant.
  look(fields) {
    askedAt = now();
    return [...selection.counting(fields.slice(0, -1)), askedAt];
  },

  // Fields that begin with video and picture: one of them counts.
  counting: ([video, picture, ...others]) =>
    [kind === "picture" ? null : video, kind === "video" ? null : picture, ...others],

  // The server did not answer the newest request: what is known of this file stands again.
  failed() {
    askedAt = changedAt;
    announce("failed");
  },

  // Whether what the server says is about the present selection.
  isCurrent: (value) => (value?.asked_at ?? 0) >= askedAt,
  isUploading: () => uploads.size > 0 || isArriving,

  // Send an upload, unless another file is chosen meanwhile: then the request is broken off, and `dropped` answers it.
  async upload(send, dropped) {
    dropUploads();
    const aborter = new AbortController(), mine = chosenAt = now();
    return new Promise((resolve, reject) => {
      uploads.set(mine, () => { aborter.abort(); resolve(dropped); });
      const end = (act, isThere = false) => {
        if (!uploads.delete(mine)) return;
        isArriving = isThere;
        if (!isArriving) settleUpload(false);
        act();
      };
      send(aborter.signal).then(async (reply) => {
        const files = reply.ok ? await reply.clone().json() : [];
        end(() => resolve(reply), files.length > 0);
      }).catch((error) => end(() => reject(error)));
    });
  },
};

window.selection = selection;
