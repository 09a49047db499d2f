// What the page says, in its visitor's language. It runs once, in the page's head, before Gradio draws anything; the
// texts come with the page (words.py). Shells and scripts call `say`; lines from the server are {key, …slots}.
const catalogues = window.gradio_config.i18n_translations;
// As Gradio chooses: the browser's language, here always by its first part (fr-CA is French), else English.
const [spoken] = navigator.language.split("-"), language = spoken in catalogues ? spoken : "en";
const texts = catalogues[language], plurals = new Intl.PluralRules(language);

// A number with thin separators, in every language: 28 800.
const formats = {};
function numeral(value, decimals = 0, least = 0) {
  const format = formats[`${least} to ${decimals}`] ??=
    new Intl.NumberFormat(language, { maximumFractionDigits: decimals, minimumFractionDigits: least });
  return format.formatToParts(value).map(({ type, value }) => type === "group" ? "\u202f" : value).join("");
}

const measured = (unit, value, decimals, least) => say(`unit.${unit}`, { amount: numeral(value, decimals, least) });

// How a number is written, by the name of the slot that it goes into; all others are plain numbers.
const WRITTEN = {
  // "under 0.1 s", "0.8 s", "12 s"
  duration: (seconds) => seconds < 0.095 ? say("unit.under", { amount: measured("seconds", 0.1, 1) })
    : seconds < 9.95 ? measured("seconds", seconds, 1, 1) : measured("seconds", seconds),
  // "0.25 s", "14 s", "1:30"
  interval: (seconds) => seconds >= 90 ? formatTime(seconds)
    : seconds >= 9.95 ? measured("seconds", seconds) : measured("seconds", Number(seconds.toPrecision(2)), 9),
  // "under 0.1%", "0.2%", "12%"
  share: (part) => part > 0 && part < 0.001 ? say("unit.under", { amount: measured("percent", 0.1, 1) })
    : measured("percent", 100 * part, part < 0.1 ? 1 : 0),
  bytes: (count) => count >= 1e9 ? measured("gigabytes", count / 1e9, 1, 1)
    : count >= 1e6 ? measured("megabytes", count / 1e6, 1, 1) : measured("kilobytes", count / 1e3),
  length: (seconds) => formatTime(seconds),
  fps: (rate) => numeral(Number(rate.toPrecision(3)), 2),
  // "2.7", "150", "over 10 000"
  factor: (value) => value > 10000 ? say("unit.over", { amount: 10000 })
    : value < 10 ? numeral(value, 1, 1) : numeral(Number(value.toPrecision(2))),
};
const written = (name, value) => typeof value === "string" ? value : (WRITTEN[name] ?? numeral)(value);

// The text of a key, or of a line, with its {slots} filled. A text that has plurals goes by its slot `count`.
function say(key, slots = {}) {
  if (typeof key === "object") return say(key.key, key);
  const text = texts[key] ?? texts[`${key}.${plurals.select(slots.count)}`] ?? texts[`${key}.other`];
  return text.replace(/\{(\w+)\}/g, (_, name) => written(name, slots[name]));
}

// Gradio takes texts for its own parts from the same catalogues, but knows fewer languages than they do (no Malay, and
// Chinese only as zh-CN and zh-TW): its markers are replaced before it sees them.
const MARKER = "__i18n__";
for (const { props } of window.gradio_config.components)
  for (const [name, value] of Object.entries(props))
    if (typeof value === "string" && value.startsWith(MARKER)) props[name] = say(JSON.parse(value.slice(MARKER.length)).key);

// Gradio writes here which language its own words are in; the page's are in this one.
const page = document.documentElement, tag = language === "zh" ? "zh-Hans" : language;
const declare = () => { if (page.lang !== tag) page.lang = tag; };
new MutationObserver(declare).observe(page, { attributeFilter: ["lang"] });
declare();

// Gradio's parts have no tooltips: they get theirs when the pointer or the focus comes.
const TITLES = {
  "#video-tab-button": "tab.video_title",
  "#picture-tab-button": "tab.picture_title",
  "#needle-tab-button": "tab.needle_title",
  "#start": "range.from_title",
  "#end": "range.to_title",
  "#question .submit-button": "ask.button_title",
  "#question .stop-button": "ask.stop_title",
  "#settings > button": "settings.title",
};
function explain({ target }) {
  const place = Object.keys(TITLES).find((place) => target.closest?.(place));
  if (place) target.closest(place).title ||= say(TITLES[place]);
  const button = target.closest?.("#desk button[aria-label]:not([title])");
  if (button && !button.closest(".film-frames")) button.title = button.getAttribute("aria-label");
}
for (const event of ["pointerover", "focusin"]) document.addEventListener(event, explain);

Object.assign(window, { say, numeral, written, formatTime, stretch });
