// The page's texts in its visitor's language. The catalogues come with the page (i18n/). Templates and scripts call
// `say`; the server sends messages, {key, …slots}.
const { language } = preferences;
const texts = window.gradio_config.i18n_translations[language], plurals = new Intl.PluralRules(language);

// A number with thin separators, in every language: 28 800.
const formats = {};
function formatNumber(value, maxDecimals = 0, minDecimals = 0) {
  const format = formats[`${minDecimals} to ${maxDecimals}`] ??=
    new Intl.NumberFormat(language, { maximumFractionDigits: maxDecimals, minimumFractionDigits: minDecimals });
  return format.formatToParts(value).map(({ type, value: part }) => type === "group" ? "\u202f" : part).join("");
}

const withUnit = (unit, ...number) => say(`unit.${unit}`, { amount: formatNumber(...number) });

// How a number is formatted, by the last word of its slot's name (`free_bytes`); all others are plain numbers.
const SLOT_FORMATS = {
  // "under 0.1 s", "0.8 s", "12 s"
  duration: (seconds) => seconds < 0.095 ? say("unit.under", { amount: withUnit("seconds", 0.1, 1) })
    : seconds < 9.95 ? withUnit("seconds", seconds, 1, 1) : withUnit("seconds", seconds),
  // "0.25 s", "14 s", "1:30"
  interval: (seconds) => seconds >= 90 ? formatTime(seconds)
    : seconds >= 9.95 ? withUnit("seconds", seconds) : withUnit("seconds", Number(seconds.toPrecision(2)), 9),
  // "under 0.1%", "0.2%", "12%"
  share: (part) => part > 0 && part < 0.001 ? say("unit.under", { amount: withUnit("percent", 0.1, 1) })
    : withUnit("percent", 100 * part, part < 0.1 ? 1 : 0),
  bytes: (count) => count >= 1e9 ? withUnit("gigabytes", count / 1e9, 1, 1)
    : count >= 1e6 ? withUnit("megabytes", count / 1e6, 1, 1) : withUnit("kilobytes", count / 1e3),
  length: (seconds) => formatTime(seconds),
  fps: (rate) => formatNumber(Number(rate.toPrecision(3)), 2),
  // "2.7", "150", "over 10 000"
  factor: (value) => value > 10000 ? say("unit.over", { amount: 10000 })
    : value < 10 ? formatNumber(value, 1, 1) : formatNumber(Number(value.toPrecision(2))),
};
const formatOf = (name) => SLOT_FORMATS[name.split("_").at(-1)] ?? formatNumber;
const formatSlot = (name, value) => typeof value === "string" ? value : formatOf(name)(value);

// The text of a key, or of a message, with its {slots} filled. The slot `count` selects the plural form.
function say(key, slots = {}) {
  if (typeof key === "object") return say(key.key, key);
  const text = texts[key] ?? texts[`${key}.${plurals.select(slots.count)}`] ?? texts[`${key}.other`];
  return text.replace(/\{(\w+)\}/g, (_, name) => formatSlot(name, slots[name]));
}

// Gradio looks up its own components' texts in the same catalogues, but does not know all their languages (no Malay,
// and Chinese only as zh-CN and zh-TW). So its markers are replaced before it sees them.
const MARKER = "__i18n__";
const translate = (value) => say(JSON.parse(value.slice(MARKER.length)).key);
for (const { props } of window.gradio_config.components)
  for (const [name, value] of Object.entries(props))
    if (typeof value === "string" && value.startsWith(MARKER)) props[name] = translate(value);

// Gradio sets `lang` to the language of its own texts; the page's texts may be in another one.
const page = document.documentElement, tag = language === "zh" ? "zh-Hans" : language;
const setLanguage = () => { if (page.lang !== tag) page.lang = tag; };
new MutationObserver(setLanguage).observe(page, { attributeFilter: ["lang"] });
setLanguage();

// Gradio's components have no tooltips: these are set when the pointer or the focus arrives.
const TITLES = {
  "#video-tab-button": "tab.video_title",
  "#picture-tab-button": "tab.picture_title",
  "#needle-tab-button": "tab.needle_title",
  "#chapters-tab-button": "tab.chapters_title",
  "#words-tab-button": "tab.words_title",
  "#start": "range.from_title",
  "#end": "range.to_title",
  "#question .submit-button": "ask.button_title",
  "#question .stop-button": "ask.stop_title",
  "#settings > button": "settings.title",
};
function addTitle({ target }) {
  const place = Object.keys(TITLES).find((selector) => target.closest?.(selector));
  if (place) target.closest(place).title ||= say(TITLES[place]);
  const button = target.closest?.("#desk button[aria-label]:not([title])");
  if (button && !button.closest(".film-frames")) button.title = button.getAttribute("aria-label");
}
for (const event of ["pointerover", "focusin"]) document.addEventListener(event, addTitle);

Object.assign(window, { say, formatNumber, formatSlot });
