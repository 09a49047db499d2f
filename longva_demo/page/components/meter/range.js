// Says in `line` what is wrong with the fields of the range, until it is right, and marks the field. The server checks
// them too. Nothing is said while a visitor types, but what was said is withdrawn at once.
function createRangeCheck(line) {
  let duration = Infinity;
  let isTyping = false;  // since the last check that the visitor asked for
  const field = (name) => document.querySelector(`#${name} textarea, #${name} input`);
  const isTyped = (target) => target.closest?.("#start, #end");

  // The name of the wrong field, and a message about it; null if both are right.
  function findProblem() {
    const texts = { start: field("start")?.value.trim() ?? "", end: field("end")?.value.trim() ?? "" };
    for (const [name, text] of Object.entries(texts))
      if (text && Number.isNaN(parseTime(text))) return [name, say("range.not_a_time", { text })];
    const start = texts.start ? parseTime(texts.start) : 0;
    if (start >= duration) return ["start", say("range.too_late", { length: duration })];
    if (texts.end && parseTime(texts.end) <= start) return ["end", say("range.not_after")];
    return null;
  }

  function check() {
    const [wrong, text] = findProblem() ?? [];
    for (const name of ["start", "end"]) field(name)?.setAttribute("aria-invalid", name === wrong);
    line.hidden = !wrong;
    if (wrong) setText(line, text);
  }

  function checkNow() {
    isTyping = false;
    check();
  }

  // The server may answer an earlier request while a visitor types.
  function checkLater() {
    if (!isTyping) check();
  }

  document.addEventListener("focusout", ({ target }) => { if (isTyped(target)) checkNow(); });
  document.addEventListener("keydown", ({ key, target }) => { if (key === "Enter" && isTyped(target)) checkNow(); }, true);
  document.addEventListener("input", ({ target }) => {
    if (!isTyped(target)) return;
    isTyping = true;
    if (!line.hidden) check();
  });
  document.addEventListener("longva:request-failed", checkLater);
  document.addEventListener("longva:view", ({ detail: { view } }) => {
    duration = view?.duration ?? Infinity;
    checkLater();
  });
}
