// Reloads a tab whose server has restarted, or has closed its page. Gradio reloads the page itself when it loses the
// connection; here it is reloaded when the server rejects an event of a stale tab. The unanswered questions return to
// the field and above it, history shows the chats that this browser kept, and the transcript says what happened.
// `server`, `serverHeader` and `sessionHeader` come from stale_tab.py.
const SETTLE_MS = 300;
const NOTE = "longva-restart", EVENT = /\/gradio_api\/(queue\/join|run\/)/, UPLOAD = /\/gradio_api\/upload(\?|$)/;

// The note that the tab left for itself before it was reloaded: {server, questions, closed}.
function readNote() {
  try {
    const note = JSON.parse(sessionStorage.getItem(NOTE));
    sessionStorage.removeItem(NOTE);
    return note;
  } catch {
    return null;  // storage is disabled, or holds something else
  }
}

const note = readNote();
const wasRestarted = Boolean(note) && note.server !== server;
const wasClosed = Boolean(note?.closed) && !wasRestarted;
let isReloading = false;
const lost = wasRestarted || wasClosed ? note.questions : [];
let lostQuestion = lost[0] ?? "";  // until it is asked again
draft.returned.push(...lost.slice(1));

function leaveNote(questions, closed = false) {
  isReloading = true;
  try { sessionStorage.setItem(NOTE, JSON.stringify({ server, questions, closed })); } catch { /* disabled */ }
}

// Questions on the way to the server: they are no longer in the field, and not yet in the transcript.
const sent = new Set();

// Questions on the way, the text in the field, the question that is being answered, and those that wait.
function unansweredQuestions() {
  const turn = document.querySelector(".turn:last-child"), isOpen = turn && !turn.querySelector(".stats")?.textContent;
  const typed = document.querySelector("#question textarea")?.value;
  const open = isOpen && turn.querySelector(".question")?.textContent;
  return [...new Set([...sent, typed, open, ...draft.waitingTexts()])].filter(Boolean);
}

let ownSession = "";
window.addEventListener("pagehide", ({ persisted }) => {
  const questions = unansweredQuestions();
  // The server waits for a lost connection to come back; this tells it that the tab is gone for good.
  if (ownSession && !persisted) navigator.sendBeacon(serverUrl(`/longva/leave/${ownSession}`));
  if (!isReloading && (questions.length || document.querySelector('.turn, .film:not([data-count="0"])'))) leaveNote(questions);
});

// The session of an event and its question. Only the event that asks has a text as its first input.
function parseEvent(body) {
  try {
    const { session_hash: session, data: [first] } = JSON.parse(body);
    return { session, question: typeof first === "string" ? first : "" };
  } catch {
    return { session: "", question: "" };
  }
}

const plainFetch = window.fetch;
window.fetch = async (address, options = {}) => {
  if (UPLOAD.test(String(address))) {
    // An empty reply resets Gradio's upload field. A recording cannot be reset that way: its request never ends.
    const canceledReply = String(address).includes("upload_id") ? Response.json([]) : new Promise(() => {});
    return selection.upload((signal) => sendUpload(String(address), options, signal), canceledReply);
  }
  if (!EVENT.test(String(address))) return plainFetch(address, options);
  const { session, question } = parseEvent(options.body), headers = new Headers(options.headers);
  if (question) { lostQuestion = ""; sent.add(question); }
  ownSession = session || ownSession;
  headers.set(serverHeader, server);
  headers.set(sessionHeader, session);
  const reply = await plainFetch(address, { ...options, headers }).catch((error) => {
    sent.delete(question);
    draft.restore(question);
    throw error;
  });
  const isClosed = reply.status === 410;
  if (reply.status === 429) draft.restore(question);
  // A reload may bring an old copy of the page from a cache: it is not reloaded again and again.
  if (!isClosed && (reply.status !== 409 || note?.server === server)) {
    sent.delete(question);
    return reply;
  }
  if (!isReloading) {  // an act sends several events, and its question may be the last of them
    isReloading = true;
    setTimeout(() => { leaveNote(unansweredQuestions(), isClosed); location.reload(); }, SETTLE_MS);
  }
  return new Promise(() => {});
};

// Gradio empties the field when it draws it, so this repeats until the visitor types there or asks the question.
function restoreLost() {
  const field = document.querySelector("#question textarea");
  if (!lostQuestion || field?.value) return;
  if (field) draft.restore(lostQuestion);
  setTimeout(restoreLost, 250);
}
document.addEventListener("input", ({ target, isTrusted }) => {
  if (isTrusted && target.closest?.("#question")) lostQuestion = "";
}, true);

restoreLost();
Object.assign(window, { wasRestarted, wasClosed });
