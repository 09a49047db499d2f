// A reload opens the visitor's own file again, as long as the server has it. Only this tab's storage names it: its path on
// the server, budget and range. An example is in the address instead (link.js).
const KEY = "longva-own-file";

function store(saved) {
  try {
    if (saved) sessionStorage.setItem(KEY, JSON.stringify(saved)); else sessionStorage.removeItem(KEY);
  } catch { /* storage is disabled */ }
}

async function reopen() {
  const [{ type } = {}] = performance.getEntriesByType("navigation");
  let saved = null;
  try { saved = JSON.parse(sessionStorage.getItem(KEY)); } catch { /* storage is disabled, or holds something else */ }
  if (type !== "reload" || !saved || new URLSearchParams(location.search).has("example")) return;
  const file = saved.fields[0] ?? saved.fields[1];
  const hasFile = await fetch(file.url, { method: "HEAD" }).then((reply) => reply.ok, () => false);
  if (selection.chosenAt()) return;  // the visitor was faster
  if (hasFile) selection.reopen(saved);
  else document.dispatchEvent(new CustomEvent("longva:file-lost", { detail: file.orig_name }));
}

document.addEventListener("longva:confirmed", ({ detail }) => store(detail.id ? null : detail));
document.addEventListener("longva:file-changed", ({ detail: field }) => { if (!field) store(null); });
document.addEventListener("longva:drawn", reopen, { once: true });
