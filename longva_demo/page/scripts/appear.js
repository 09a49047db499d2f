// Gradio adds its components one by one. They appear together, once they have their places, so that nothing moves.
const PARTS = [".head", ".groups", "#media", ".budget", ".cost", ".film", ".chat", "#question", ".history"];
const SETTLED_MS = 60, MAX_WAIT_MS = 10000;
let places = "", settledAt = 0;

function appear() {
  const now = performance.now();
  const tops = PARTS.map((part) => document.querySelector(part)?.getBoundingClientRect().top ?? null);
  const isNew = places !== (places = JSON.stringify(tops));
  if (isNew || tops.includes(null)) settledAt = now;
  if (now - settledAt < SETTLED_MS && now < MAX_WAIT_MS) requestAnimationFrame(appear);
  else {
    // Gradio's icons repeat the words beside them.
    for (const icon of document.querySelectorAll("footer img")) icon.alt = "";
    document.documentElement.classList.add("drawn");
    document.dispatchEvent(new CustomEvent("longva:drawn"));
  }
}
appear();
