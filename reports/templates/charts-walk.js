"use strict";
// Charts by keyboard and by click: arrow keys walk over the figures and say each; Enter, or a click, chooses whose it is.
{
  const announcer = document.getElementById("announcer");
  const KEYS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -Infinity], End: [0, Infinity] };
  const within = (place, length) => Math.max(0, Math.min(length - 1, place));

  // Left and right along a series, up and down between them; in a single list all four go along it.
  const moved = (groups, at, [down, right]) => {
    if (!at) return [0, 0];
    if (groups.length === 1) return [0, within(at[1] + down + right, groups[0].length)];
    const group = within(at[0] + down, groups.length);
    return [group, within(at[1] + right, groups[group].length)];
  };
  const chooseBy = (chart, figure) => {
    const same = chosen.name === figure.subject && chosen.row === (figure.row ?? "");
    chosen.choose(figure.about ?? chart.about ?? "implementation", same ? "" : figure.subject, figure.row);
  };
  const leave = (area) => {
    const one = charts.state.get(area.dataset.chart);
    if (!one.at) return;
    one.at = null;
    charts.draw(area, true);
  };

  const walk = (area, event) => {
    const one = charts.state.get(area.dataset.chart);
    const groups = charts.figures[one.chart.kind](one.chart, one.hidden);
    if (!groups.length) return;
    if (event.key in KEYS) {
      one.at = moved(groups, one.at, KEYS[event.key]);
      charts.draw(area, true);
      const [group, place] = one.at;
      announcer.textContent = `${groups[group][place].said.replaceAll("\n", ", ")}; ${place + 1} of ${groups[group].length}`;
    } else if (["Enter", " "].includes(event.key) && one.at) chooseBy(one.chart, groups[one.at[0]][one.at[1]]);
    else if (event.key === "Escape") leave(area);
    else return;
    event.preventDefault();
  };

  for (const area of document.querySelectorAll("[data-chart]")) {
    const title = area.closest("figure").querySelector("figcaption").textContent;
    area.tabIndex = 0;
    area.setAttribute("role", "application"); // so that the arrow keys come here with a screen reader too
    area.setAttribute("aria-roledescription", "chart");
    area.setAttribute("aria-label", `${title}: arrow keys say each figure, Enter shows its rows alone`);
    area.addEventListener("keydown", (event) => walk(area, event));
    area.addEventListener("blur", () => leave(area));
    area.addEventListener("input", () => area.classList.toggle("over", Boolean(area.firstChild.value))); // Plot says what is under the pointer
    area.addEventListener("click", () => {
      const { chart } = charts.state.get(area.dataset.chart);
      const figure = area.firstChild.value;
      if (figure?.subject) chooseBy(chart, figure);
    });
  }
}
