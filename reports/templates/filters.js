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

  // Of very many that match, an area shows so many at a time: laying out more takes seconds.
  const columns = document.querySelectorAll(".matrix-head span").length;
  const STEP = Math.min(200, Math.max(20, Math.ceil(4000 / Math.max(1, columns))));
  const more = new Map(
    areas.map((area) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "plain more", hidden: true });
      area.append(button);
      return [area, { button, limit: STEP }];
    }),
  );

  const matches = (entry, { text, status, level, area }) =>
    (!status || entry.marks.includes(status)) &&
    (!level || entry.level === level) &&
    (!area || entry.area === area) &&
    text.toLowerCase().split(/\s+/).every((word) => entry.text.includes(word));

  const within = new Map(areas.map((area) => [area, entries.filter((entry) => entry.element.parentElement.parentElement === area)]));
  const anew = () => {
    for (const one of more.values()) one.limit = STEP;
    apply();
  };
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const filtering = Object.values(wanted).some((value) => value.trim());
    form.toggleAttribute("data-active", filtering);
    let shown = 0;
    for (const area of areas) {
      const { button, limit } = more.get(area);
      let some = 0;
      for (const entry of within.get(area)) {
        const matched = matches(entry, wanted);
        some += matched ? 1 : 0;
        entry.element.hidden = !matched || some > limit;
      }
      shown += some;
      button.hidden = some <= limit;
      button.textContent = `Show more: ${limit.toLocaleString("en")} of ${some.toLocaleString("en")} are shown`;
      area.hidden = !some;
      area.open = filtering ? some > 0 : opened.get(area);
    }
    document.getElementById("match-count").textContent = `${shown} of ${entries.length}`;
    document.getElementById("no-match").hidden = shown > 0;
  };

  if (form) {
    for (const kind of ["input", "change"]) form.addEventListener(kind, anew);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(anew));
    for (const [area, one] of more) {
      one.button.addEventListener("click", () => {
        one.limit += STEP;
        apply();
      });
      if (within.get(area).length > STEP) apply();
    }
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
