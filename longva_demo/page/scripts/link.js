// The address bar names the selected example with its budget and range, so that a reload and a copied link open them
// again. A link may also bring a question for the field. Nothing about the visitor's own files is ever in it.
const NAMES = ["example", "frames", "start", "end", "q"], MAX_QUESTION = 2000;
const given = new URLSearchParams(location.search);

function openGiven() {
  const time = (name) => Number.isNaN(parseTime(given.get(name) ?? "")) ? undefined : given.get(name);
  const frames = Number(given.get("frames"));
  const budget = Number.isInteger(frames) && frames > 0 ? frames : undefined;
  const detail = { id: given.get("example"), budget, start: time("start"), end: time("end") };
  if (detail.id) document.dispatchEvent(new CustomEvent("longva:open-example", { detail }));
  draft.restore((given.get("q") ?? "").slice(0, MAX_QUESTION));
}

function update({ detail: { view } }) {
  const url = new URL(location), id = selection.exampleId();
  for (const name of NAMES) url.searchParams.delete(name);
  if (view && id) {
    const [start, end] = view.trail?.at(-1) ?? [];
    url.searchParams.set("example", id);
    url.searchParams.set("frames", document.querySelector(".budget-number").value);
    if (start) url.searchParams.set("start", formatTypedTime(start));
    if (end) url.searchParams.set("end", formatTypedTime(end));
  }
  history.replaceState(history.state, "", url);
}

document.addEventListener("longva:drawn", openGiven, { once: true });
document.addEventListener("longva:view", (event) => { if (event.detail.view) update(event); });
document.addEventListener("longva:file-changed", ({ detail: field }) => { if (!field) update({ detail: {} }); });
