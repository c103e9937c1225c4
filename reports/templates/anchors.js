"use strict";
// A link to a requirement opens what hides it; printing opens everything.
{
  const reveal = async () => {
    const target = await pages.revealed(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const entry = target.closest(".requirement");
    if (entry) entry.hidden = false; // where there are very many, not all are shown
    for (let around = target.closest("details"); around; around = around.parentElement.closest("details")) {
      around.open = true;
    }
    const inside = entry?.querySelector(".evidence details");
    if (inside) inside.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
}
