// Runs in the page's head. When the server was restarted, the page is loaded anew: by Gradio, which lost the connection,
// or from here, where the new server turns its first event away; so too where the server has closed the page of a tab
// that is still open. A question that has no answer yet is put back into its field; history.js opens the chats that this
// browser kept, and the transcript says why.
const NOTE = "longva-restart", EVENT = /\/gradio_api\/(queue\/join|run\/)/, UPLOAD = /\/gradio_api\/upload(\?|$)/;

function takeNote() {
  try {
    const note = JSON.parse(sessionStorage.getItem(NOTE));
    sessionStorage.removeItem(NOTE);
    return note;
  } catch {
    return null;  // storage is switched off, or holds something else
  }
}

const note = takeNote();
window.wasRestarted = Boolean(note) && note.server !== server;
window.wasClosed = Boolean(note?.closed) && !window.wasRestarted;
let isLeaving = false, lost = window.wasRestarted || window.wasClosed ? note.question : "";  // until it is asked again

function leaveNote(question, closed = false) {
  isLeaving = true;
  try { sessionStorage.setItem(NOTE, JSON.stringify({ server, question, closed })); } catch { /* switched off */ }
}

// What stands in the field, or the question that is being answered.
function unanswered() {
  const turn = document.querySelector(".turn:last-child"), isOpen = turn && !turn.querySelector(".stats")?.textContent;
  return document.querySelector("#question textarea")?.value || (isOpen && turn.querySelector(".question")?.textContent) || "";
}

let mySession = "";
window.addEventListener("pagehide", ({ persisted }) => {
  const question = unanswered(), root = window.gradio_config?.root || location.origin;
  // A connection that breaks may be made again; this is for good, so that the server need not wait.
  if (mySession && !persisted) navigator.sendBeacon(`${root}/longva/leave/${mySession}`);
  if (!isLeaving && (question || document.querySelector('.turn, .film:not([data-count="0"])'))) leaveNote(question);
});

// Whose event it is, and its question: the first input is a text where one is asked, and nowhere else.
function parsed(body) {
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
    // Gradio's upload fields are ready again where no file comes back; a recording has no such end.
    const dropped = String(address).includes("upload_id") ? Response.json([]) : new Promise(() => {});
    return selection.upload((signal) => plainFetch(address, { ...options, signal }), dropped);
  }
  if (!EVENT.test(String(address))) return plainFetch(address, options);
  const { session, question } = parsed(options.body), headers = new Headers(options.headers);
  if (question) lost = "";
  mySession = session || mySession;
  headers.set(serverHeader, server);
  headers.set(sessionHeader, session);
  const reply = await plainFetch(address, { ...options, headers }).catch((error) => {
    restore(question);
    throw error;
  });
  const isClosed = reply.status === 410;
  // The page that came back may be an old copy: it is not loaded again and again.
  if (!isClosed && (reply.status !== 409 || note?.server === server)) return reply;
  leaveNote(question || unanswered(), isClosed);
  location.reload();
  return new Promise(() => {});
};

// The page's parts come one by one, and Gradio empties the field when it draws it: again, until it holds the question,
// or the visitor writes there.
function putBack() {
  const field = document.querySelector("#question textarea");
  if (!lost || field?.value) return;
  if (field) restore(lost);
  setTimeout(putBack, 250);
}
document.addEventListener("input", ({ target, isTrusted }) => {
  if (isTrusted && target.closest?.("#question")) lost = "";
}, true);

putBack();
