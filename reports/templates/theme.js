"use strict";
// Before the first paint: show what needs a script, and take the theme that was chosen last.
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  root.dataset.script = "";

  const stored = () => {
    try {
      return localStorage.getItem("vitbench-theme");
    } catch {
      return null; // a page from a file may have no storage
    }
  };
  const choose = (theme) => {
    root.dataset.theme = theme;
    try {
      localStorage.setItem("vitbench-theme", theme);
    } catch {
      // then it holds for this visit
    }
  };
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  const remembered = stored();
  if (remembered === "dark" || remembered === "light") root.dataset.theme = remembered;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(dark()));
    button.addEventListener("click", () => {
      choose(dark() ? "light" : "dark");
      show();
    });
    system.addEventListener("change", show);
    show();
  });
}
