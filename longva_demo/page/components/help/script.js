// Opened by its button and by the key "?". The language and the theme are remembered in this browser.
const dialog = element.querySelector("dialog");
const language = dialog.querySelector(".help-language"), theme = dialog.querySelector(".help-theme");

setUpPanel(dialog, "help");
language.value = preferences.language;
theme.value = preferences.theme;
language.addEventListener("change", () => preferences.setLanguage(language.value));
theme.addEventListener("change", () => preferences.setTheme(theme.value));
