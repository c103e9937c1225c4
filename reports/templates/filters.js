"use strict";
// Show the requirements that match; an area without any goes, an area with some opens.
{
  const form = document.getElementById("filters");
  const areas = [...document.querySelectorAll(".area")];
  const opened = new Map(areas.map((area) => [area, area.open]));
  const entries = [...document.querySelectorAll(".requirement")].map((element) => ({
    element,
    text: element.textContent.toLowerCase(),
    marks: element.dataset.marks.trim().split(" "),
    level: element.dataset.level,
    area: element.dataset.area,
  }));

  const matches = (entry, { text, status, level, area }) =>
    (!status || entry.marks.includes(status)) &&
    (!level || entry.level === level) &&
    (!area || entry.area === area) &&
    text.toLowerCase().split(/\s+/).every((word) => entry.text.includes(word));

  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const filtering = Object.values(wanted).some((value) => value.trim());
    form.toggleAttribute("data-active", filtering);
    let shown = 0;
    for (const entry of entries) {
      entry.element.hidden = !matches(entry, wanted);
      shown += entry.element.hidden ? 0 : 1;
    }
    for (const area of areas) {
      const some = area.querySelector(".requirement:not([hidden])") !== null;
      area.hidden = !some;
      area.open = filtering ? some : opened.get(area);
    }
    document.getElementById("match-count").textContent = `${shown} of ${entries.length}`;
    document.getElementById("no-match").hidden = shown > 0;
  };

  if (form) {
    for (const kind of ["input", "change"]) form.addEventListener(kind, apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
    const all = document.getElementById("open-all");
    all.addEventListener("click", () => {
      const open = areas.some((area) => !area.open);
      for (const area of areas) {
        area.open = open;
        opened.set(area, open);
      }
      all.textContent = open ? "Close all" : "Open all";
    });
  }
}
