"use strict";
// Draw every chart at the width it has; colours are the page's own, so that a change of theme needs no redrawing.
{
  const known = JSON.parse(document.getElementById("chart-data").textContent);
  const state = new Map(known.map((chart) => [chart.id, { chart, hidden: new Set(), at: null }])); // at: group and place of a figure
  charts.widest = Math.max(0, ...known.flatMap((chart) => (chart.bars ?? []).map((bar) => charts.textWidth(bar.label))));

  const draw = (area, anew = false) => {
    const width = Math.floor(area.clientWidth);
    if (!width || (!anew && width === Number(area.dataset.width))) return;
    area.dataset.width = width;
    const { chart, hidden, at } = state.get(area.dataset.chart);
    const groups = charts.figures[chart.kind](chart, hidden);
    const here = at ? groups[at[0]]?.[at[1]] : null;
    area.replaceChildren(picture(charts.drawings[chart.kind](chart, width, { hidden, here, figures: groups.flat() })));
  };
  Object.assign(charts, { state, draw });

  // A button for each series, which shows and hides it; on paper they are the key.
  const button = (area, label, index, symbol) => {
    const { hidden } = state.get(area.dataset.chart);
    const element = document.createElement("button");
    const swatch = Plot.dot([0], { frameAnchor: "middle", symbol, r: 5, fill: charts.colour(index) }).plot({ className: "plot", width: 14, height: 14, margin: 0 });
    swatch.setAttribute("aria-hidden", "true");
    swatch.querySelector("style").remove(); // no part of what the button says
    element.type = "button";
    element.setAttribute("aria-pressed", "true");
    element.append(swatch, label);
    element.addEventListener("click", () => {
      if (!hidden.delete(index)) hidden.add(index);
      element.setAttribute("aria-pressed", String(!hidden.has(index)));
      draw(area, true);
    });
    return element;
  };
  const legend = (area) => {
    const { chart } = state.get(area.dataset.chart);
    const series = (chart.series ?? []).map((one, index) => [one.note ? `${one.label} (${one.note})` : one.label, charts.symbol(index)]);
    const entries = chart.classes ? chart.classes.map((label) => [label, "square"]) : series;
    area.parentElement.querySelector(".legend")?.append(...entries.map(([label, symbol], index) => button(area, label, index, symbol)));
  };

  const observer = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));
  for (const area of document.querySelectorAll("[data-chart]")) {
    legend(area);
    draw(area);
    observer.observe(area);
  }
  document.addEventListener("chosen", () => document.querySelectorAll("[data-chart]").forEach((area) => draw(area, true)));
}
