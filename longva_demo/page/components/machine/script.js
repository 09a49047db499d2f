// The dialog is opened by the event `longva:machine` of the badge and of a refusal. `props.value` is `machine_facts`,
// which the server computes each time.
const dialog = element.querySelector("dialog"), part = (name) => dialog.querySelector(`.machine-${name}`);
const [code, copy] = part("command").children;

function drawNeeds({ frames, rows, processor }) {
  const table = part("needs"), addRow = (tag, cells) => {
    const row = table.insertRow();
    for (const cell of cells) row.append(make(tag, "", cell));
  };
  table.replaceChildren();
  table.hidden = !rows.length;  // the model runs elsewhere
  part("times").textContent = processor ? say(processor.times) : "";
  if (table.hidden) return;
  addRow("th", [say("machine.precision"), say("machine.needed", { count: frames }), say("machine.here")]);
  const verdict = (fits) => say(fits ? "machine.fits" : "machine.too_large");
  for (const { precision, needed, fits } of rows)
    addRow("td", [precision, formatSlot("bytes", needed), verdict(fits)]);
  if (processor) addRow("td", [processor.precision, say(processor.needed), verdict(processor.fits)]);
}

function draw() {
  const { value } = props;
  if (!value) return;
  part("waiting").hidden = true;
  part("reason").textContent = value.reason;
  part("facts").replaceChildren(...value.facts.map((fact) => make("li", "", say(fact))));
  drawNeeds(value);
  part("advice").textContent = say(value.advice);
  code.textContent = value.command;
  part("command").hidden = !value.is_builtin;
  for (const button of part("now").querySelectorAll("button"))
    button.hidden = !document.querySelector(button.dataset.to)?.checkVisibility();
  part("now").hidden = !value.is_builtin || document.querySelector(".film")?.dataset.count === "0";
}

// Leads to a place of the page: a tab is opened, everything else gets the focus.
function lead(selector) {
  dialog.close();
  const place = document.querySelector(selector);
  if (!place) return;
  if (place.role === "tab") place.click();
  place.scrollIntoView({ block: "nearest" });
  place.focus({ focusVisible: true });
}

setUpPanel(dialog, "machine", () => trigger("examine"));
copy.addEventListener("click", () => copyFrom(copy, code.textContent));
for (const button of part("now").querySelectorAll("button"))
  button.addEventListener("click", () => lead(button.dataset.to));
watch("value", draw);
