// The visitor's language and theme: what was chosen on the page, else what the browser asks for.
const LANGUAGE = "longva-language", THEME = "longva-theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");

function read(key) {
  try { return localStorage.getItem(key); } catch { return null; }  // storage is disabled
}

function write(key, value) {
  try { localStorage.setItem(key, value); } catch { /* it is forgotten with the page */ }
}

// The page goes by the first part of a language alone: fr-CA is French.
const catalogues = window.gradio_config.i18n_translations;
const themes = [new URLSearchParams(location.search).get("__theme"), read(THEME)];  // Gradio's links name a theme too
const [language] = [read(LANGUAGE), navigator.language.split("-")[0], "en"].filter((one) => one in catalogues);

const preferences = {
  language,
  theme: themes.find((one) => one === "light" || one === "dark") ?? "system",

  // Templates are drawn only once, so the page is reloaded.
  setLanguage(value) {
    write(LANGUAGE, value);
    location.reload();
  },

  setTheme(value) {
    preferences.theme = value;
    write(THEME, value);
    applyTheme();
  },
};

// Gradio sets the class by the system's theme, when it starts and when that changes.
function applyTheme() {
  const isDark = preferences.theme === "system" ? systemDark.matches : preferences.theme === "dark";
  if (document.body.classList.contains("dark") !== isDark) document.body.classList.toggle("dark", isDark);
}
function followBody() {
  new MutationObserver(applyTheme).observe(document.body, { attributeFilter: ["class"] });
  applyTheme();
}
if (document.body) followBody(); else addEventListener("DOMContentLoaded", followBody);
systemDark.addEventListener("change", applyTheme);

window.preferences = preferences;
