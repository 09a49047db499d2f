// Runs in the page's head. When the server was restarted, the page is loaded anew: by Gradio, which lost the connection,
// or from here, where the new server turns its first event away. A question that has no answer yet is put back into its
// field; history.js opens the chats that this browser kept, and says why.
const NOTE = "longva-restart";

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
let isLeaving = false, lost = window.wasRestarted ? note.question : "";  // until it is asked again

function leaveNote(question) {
  isLeaving = true;
  try { sessionStorage.setItem(NOTE, JSON.stringify({ server, question })); } catch { /* switched off */ }
}

// What stands in the field, or the question that is being answered.
function unanswered() {
  const turn = document.querySelector(".turn:last-child"), isOpen = turn && !turn.querySelector(".stats")?.textContent;
  return document.querySelector("#question textarea")?.value || (isOpen && turn.querySelector(".question")?.textContent) || "";
}

window.addEventListener("pagehide", () => {
  const question = unanswered();
  if (!isLeaving && (question || document.querySelector('.turn, .film:not([data-count="0"])'))) leaveNote(question);
});

// An event's first input is a text where a question is asked, and nowhere else.
function asked(body) {
  try {
    const [first] = JSON.parse(body).data;
    return typeof first === "string" ? first : "";
  } catch {
    return "";
  }
}

function fill(question) {
  const field = document.querySelector("#question textarea");
  if (!question || !field || field.value) return;
  field.value = question;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

const plainFetch = window.fetch;
window.fetch = async (address, options = {}) => {
  if (!String(address).includes("/queue/join")) return plainFetch(address, options);
  const question = asked(options.body), headers = new Headers(options.headers);
  if (question) lost = "";
  headers.set(header, server);
  const reply = await plainFetch(address, { ...options, headers }).catch((error) => {
    fill(question);
    throw error;
  });
  // The page that came back may be an old copy: it is not loaded again and again.
  if (reply.status !== 409 || note?.server === server) return reply;
  leaveNote(question || unanswered());
  location.reload();
  return new Promise(() => {});
};

// The page's parts come one by one, and Gradio empties the field when it draws it: again, until it holds the question.
function putBack() {
  if (!lost || document.querySelector("#question textarea")?.value) return;
  fill(lost);
  setTimeout(putBack, 250);
}

putBack();
