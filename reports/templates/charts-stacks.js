"use strict";
// Bars stacked by class, with a diamond at the peak and its figure beside it.
charts.figures.stacks = (chart, hidden) => [
  chart.stacks.map((stack) => {
    const parts = stack.parts.map((part, index) => `${chart.classes[index]}: ${part.text}`);
    const total = stack.parts.reduce((sum, part, index) => sum + (hidden.has(index) ? 0 : part.bytes), 0);
    return { ...stack, total, said: [stack.label, ...parts, `peak: ${stack.text}`].join("\n") };
  }),
];

charts.drawings.stacks = (chart, width, { hidden, here, figures: stacks }) => {
  const { ink, textWidth } = charts;
  const narrow = width < 480;
  const widest = Math.max(...chart.stacks.map((stack) => textWidth(stack.label)));
  const marginLeft = narrow ? 12 : Math.min(width * 0.45, 16 + widest);
  const marginRight = 14 + (narrow ? 14 : Math.max(...chart.stacks.map((stack) => textWidth(stack.text))));
  const parts = chart.stacks.flatMap((stack) =>
    stack.parts.map((part, index) => ({ ...part, index, label: stack.label, opacity: charts.strength(chart, stack.subject) })).filter((part) => !hidden.has(part.index)),
  );
  const stacked = { x: "bytes", y: "label" };
  const x = charts.spaced(chart.axis, width - marginLeft - marginRight, (text) => textWidth(text) + 10);
  return Plot.plot({
    className: "plot",
    ariaLabel: "Bars of memory by class; the table below has the same figures",
    width,
    height: 48 + chart.stacks.length * (narrow ? 48 : 34),
    marginLeft,
    marginRight,
    marginBottom: 30,
    marginTop: narrow ? 12 : 4,
    style: charts.style,
    x: { domain: [chart.axis.low, chart.axis.high], axis: null },
    y: { axis: null, domain: chart.stacks.map((stack) => stack.label), label: null, padding: narrow ? 0.62 : 0.45 },
    marks: [
      Plot.gridX(x.ticks, charts.grid),
      Plot.barX(parts, { ...stacked, fill: (part) => charts.colour(part.index), insetRight: 0.75, opacity: "opacity", ariaDescription: "part" }),
      Plot.ruleX([0], { stroke: "var(--strong-rule)" }),
      Plot.dot(stacks, { x: "peak", y: "label", symbol: "diamond", r: 4.5, fill: "var(--ink)", stroke: "var(--paper)", ariaDescription: "peak" }),
      narrow
        ? Plot.text(stacks, { x: 0, y: "label", text: (stack) => `${stack.label}  ${stack.text}`, textAnchor: "start", dy: -18, ...ink })
        : Plot.text(stacks, { x: (stack) => Math.max(stack.total, stack.peak), y: "label", text: "text", textAnchor: "start", dx: 9, ...ink }),
      narrow ? null : Plot.axisY({ tickSize: 0, tickPadding: 8, fill: "var(--ink)" }),
      Plot.barX(stacks, { x: "total", y: "label", fill: "none", title: "said", tip: { pointer: "y", ...charts.tip(width) } }),
      ...charts.here(here, { x: "peak", y: "label" }, width),
      Plot.axisX({ ...x, tickSize: 0, color: "var(--quiet)", label: null }),
    ],
  });
};
