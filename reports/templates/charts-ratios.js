"use strict";
// Ratios with their intervals around a line at one, on a logarithmic axis; what the interval says has a colour, a symbol and a word.
charts.figures.ratios = (chart) => [chart.points.map((point) => ({ ...point, said: [point.label, point.told, point.note].filter(Boolean).join("\n") }))];

charts.drawings.ratios = (chart, width, { here, figures: points }) => {
  const { ink, spaced, strength, textWidth } = charts;
  const COLOURS = { slower: "var(--bad)", faster: "var(--good)" };
  const SYMBOLS = { slower: "triangle", faster: "diamond" };
  const narrow = width < 640;
  const note = (point) => [point.text, point.word, point.note].filter(Boolean).join("  ");
  const above = (point) => `${charts.fitted(point.label, width - 24)}\n${note(point)}`;
  const marginLeft = narrow ? 12 : Math.min(width * 0.42, 18 + Math.max(...points.map((point) => textWidth(point.label))));
  const marginRight = narrow ? 12 : 20 + Math.max(...points.map((point) => textWidth(note(point))));
  const x = spaced(chart.axis, width - marginLeft - marginRight, (text) => textWidth(text) + 10);
  const paint = (point) => COLOURS[point.word] ?? "var(--quiet)";
  const opacity = (point) => strength(point, point.subject)
  return Plot.plot({
    className: "plot",
    ariaLabel: "Ratios of times with their intervals; the table below has the same figures",
    width,
    height: 64 + points.length * (narrow ? 58 : 26),
    marginLeft,
    marginRight,
    marginBottom: 40,
    marginTop: narrow ? 24 : 8,
    style: charts.style,
    x: { type: "log", domain: [chart.axis.low, chart.axis.high], axis: null },
    y: { type: "point", axis: null, domain: points.map((point) => point.label), label: null, padding: 0.6 },
    marks: [
      Plot.gridX(x.ticks, charts.grid),
      Plot.ruleX([1], { stroke: "var(--ink)", strokeWidth: 1.25, ariaDescription: "one" }),
      Plot.ruleY(points.filter((point) => point.low != null), { y: "label", x1: "low", x2: "high", stroke: paint, strokeWidth: 2, opacity, ariaDescription: "interval" }),
      Plot.dot(points.filter((point) => point.note), { x: "value", y: "label", r: 9, fill: "var(--unsure-fill)", fillOpacity: (point) => 0.55 * opacity(point) }),
      Plot.dot(points, { x: "value", y: "label", r: 4.5, symbol: { value: (point) => SYMBOLS[point.word] ?? "circle" }, fill: paint, stroke: "var(--paper)", strokeWidth: 0.75, opacity, ariaDescription: "point" }),
      narrow
        ? Plot.text(points, { y: "label", frameAnchor: "left", text: above, textAnchor: "start", dy: -20, ...ink, fillOpacity: opacity })
        : Plot.text(points, { y: "label", frameAnchor: "right", text: note, textAnchor: "start", dx: 12, ...ink, fillOpacity: opacity }),
      narrow ? null : Plot.axisY({ tickSize: 0, tickPadding: 10, fill: "var(--ink)" }),
      Plot.dot(points, { x: "value", y: "label", r: 0, fill: "none", title: "said", tip: { pointer: "y", ...charts.tip(width) } }),
      ...charts.here(here, { x: "value", y: "label" }, width),
      Plot.axisX({ ...x, tickSize: 0, color: "var(--quiet)", labelAnchor: "right", label: `${chart.axis.label} →` }),
    ],
  });
};
