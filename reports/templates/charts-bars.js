"use strict";
// Bars with intervals, each with its figure beside it.
charts.figures.bars = (chart) => [chart.bars.map((bar) => ({ ...bar, said: [bar.label, bar.told, bar.note].filter(Boolean).join("\n") }))];

charts.drawings.bars = (chart, width, { here, figures: bars }) => {
  const { textWidth, ink } = charts;
  const narrow = width < 480;
  const marginLeft = narrow ? 4 : Math.min(width * 0.45, 16 + charts.widest);
  const widestTick = new Intl.NumberFormat("en").format(Math.ceil(Math.max(...chart.bars.map((bar) => bar.value))));
  const marginRight = Math.max(narrow ? 8 : 12, textWidth(widestTick) / 2);
  const beside = 9;
  const end = (bar) => bar.high ?? bar.value;
  const note = (bar) => (bar.note ? `${bar.text}  ${bar.note}` : bar.text);
  const across = width - marginLeft - marginRight;
  // Every bar with the text beside it ends within the chart; above it, text that is too long takes two lines.
  const room = (bar) => Math.max(across * 0.2, across - (narrow ? 0 : beside + textWidth(note(bar))));
  const most = Math.max(...chart.bars.map((bar) => (end(bar) * across) / room(bar)));
  const above = (bar, between) => `${bar.label}${between}${note(bar)}`;
  const twoLines = narrow && chart.bars.some((bar) => textWidth(above(bar, "  ")) > across);
  const marginTop = twoLines ? 10 : 4;
  const ticks = Math.max(2, across / Math.max(90, textWidth(widestTick) * 1.6));
  return Plot.plot({
    className: "plot",
    ariaLabel: `Bar chart of ${chart.axis}; the table below has the same figures`,
    width,
    height: 42 + marginTop + chart.bars.length * (twoLines ? 60 : narrow ? 44 : 32),
    marginLeft,
    marginRight,
    marginBottom: 38,
    marginTop,
    style: charts.style,
    x: { domain: [0, most * 1.02], label: `${chart.axis} →`, ticks },
    y: { axis: null, domain: chart.bars.map((bar) => bar.label), label: null, padding: twoLines ? 0.72 : narrow ? 0.62 : 0.52 },
    marks: [
      Plot.gridX({ ...charts.grid, ticks }),
      Plot.barX(bars, { y: "label", x: "value", fill: (bar) => (bar.sure ? "var(--bar)" : "var(--unsure-fill)"), fillOpacity: (bar) => (bar.sure ? 1 : 0.55) * charts.strength(chart, bar.subject), ariaDescription: "bar" }),
      Plot.ruleX([0], { stroke: "var(--strong-rule)" }),
      Plot.ruleY(chart.bars.filter((bar) => bar.low != null), { y: "label", x1: "low", x2: "high", stroke: "var(--ink)", strokeWidth: 1.5, marker: "tick" }),
      narrow
        ? Plot.text(chart.bars, { y: "label", x: 0, text: (bar) => above(bar, twoLines ? "\n" : "  "), textAnchor: "start", dy: twoLines ? -25 : -17, ...ink })
        : Plot.text(chart.bars, { y: "label", x: end, text: note, textAnchor: "start", dx: beside, ...ink }),
      narrow ? null : Plot.axisY({ tickSize: 0, tickPadding: 8, fill: "var(--ink)" }),
      Plot.barX(bars, { y: "label", x: "value", fill: "none", title: "said", tip: { pointer: "y", ...charts.tip(width) } }),
      ...charts.here(here, { x: "value", y: "label" }, width),
      Plot.axisX({ tickSize: 0, ticks, color: "var(--quiet)", label: `${chart.axis} →` }),
    ],
  });
};
