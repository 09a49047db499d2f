// Opened by its button and by the key "?". The language and the theme are remembered in this browser.
const dialog = element.querySelector("dialog");
const logout = dialog.querySelector(".help-logout");
const language = dialog.querySelector(".help-language"), theme = dialog.querySelector(".help-theme");

setUpPanel(dialog, "help");
language.value = preferences.language;
theme.value = preferences.theme;
language.addEventListener("change", () => preferences.setLanguage(language.value));
theme.addEventListener("change", () => preferences.setTheme(theme.value));
logout.hidden = !props.value.has_login;
logout.addEventListener("click", async () => {
  await fetch(serverUrl("/logout"), { method: "POST" });
  location.reload();
});
