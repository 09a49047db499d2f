// Keys of the whole page: "/" goes to the question, "?" shows all keys. Not while a text is typed, nor over a panel.
document.addEventListener("keydown", (event) => {
  const { key, target, ctrlKey, altKey, metaKey } = event;
  if (ctrlKey || altKey || metaKey || target.closest?.("input, textarea, select, dialog[open]")) return;
  if (key === "/") document.querySelector("#question textarea")?.focus();
  else if (key === "?") document.dispatchEvent(new CustomEvent("longva:help"));
  else return;
  event.preventDefault();
});
