"use strict";
// Copy a command; where the clipboard is closed to this page, select the text instead.
{
  const announcer = document.getElementById("announcer");
  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };
  const say = (button, text) => {
    button.textContent = text;
    announcer.textContent = text;
    setTimeout(() => {
      button.textContent = "Copy";
      announcer.textContent = "";
    }, 2000);
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copies]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say(button, "Copied");
    } catch {
      select(source);
      say(button, document.execCommand("copy") ? "Copied" : "Selected");
    }
  });
}
