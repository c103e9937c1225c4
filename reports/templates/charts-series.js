"use strict";
// Series of points in a plane, joined by lines or not, with intervals and with guides to read them against.
charts.figures.series = (chart, hidden) =>
  chart.series
    .map((one, index) =>
      one.points.map((point) => {
        const note = point.note ?? one.note;
        const said = [one.label, point.text, note].filter(Boolean).join("\n");
        return { ...point, index, note, said, subject: one.subject, row: point.row ?? one.row };
      }),
    )
    .filter((points, index) => points.length && !hidden.has(index));

charts.drawings.series = (chart, width, { hidden, here, figures: points }) => {
  const { colour, symbol, ink, spaced, textWidth } = charts;
  const margins = { marginTop: 30, marginRight: 16, marginBottom: 40, marginLeft: 14 + Math.max(...chart.y.ticks.map((tick) => textWidth(tick.text))) };
  const height = Math.round(Math.max(300, Math.min(440, width * 0.58)));
  const xTicks = spaced(chart.x, width - margins.marginLeft - margins.marginRight, (text) => textWidth(text) + 10);
  const yTicks = spaced(chart.y, height - margins.marginTop - margins.marginBottom, () => 18);
  const scale = (axis) => ({ type: axis.log ? "log" : "linear", domain: [axis.low, axis.high], axis: null });
  const series = chart.series.map((one, index) => ({ ...one, index })).filter((one) => !hidden.has(one.index));
  const at = { x: "x", y: "y" };

  const guides = chart.guides.flatMap((guide) => [
    Plot.line(guide.points, { x: "0", y: "1", stroke: "var(--quiet)", strokeDasharray: "5 4", curve: guide.steps ? "step-after" : "linear", ariaDescription: "guide" }),
    guide.label && guide.points[0][1] === guide.points.at(-1)[1]
      ? Plot.text([guide], { x: guide.points.at(-1)[0], y: guide.points.at(-1)[1], text: "label", textAnchor: "end", dy: -8, ...ink, fill: "var(--quiet)" })
      : guide.label
        ? Plot.text([guide], { x: guide.points[0][0], y: guide.points[0][1], text: "label", textAnchor: "start", dx: 16, dy: 2, ...ink, fill: "var(--quiet)" })
        : null,
  ]);
  // Of points that stand close together, intervals are a band.
  const spreads = (own, { opacity, ...line }) => {
    if (chart.interval === "x") return Plot.ruleY(own, { y: "y", x1: "low", x2: "high", ...line, opacity });
    if (chart.dotted) return Plot.ruleX(own, { x: "x", y1: "low", y2: "high", ...line, opacity });
    return Plot.areaY(own, { x: "x", y1: "low", y2: "high", fill: line.stroke, fillOpacity: 0.16 * opacity, ariaDescription: "band" });
  };
  const drawn = (one) => {
    const [paint, shape, opacity] = [colour(one.index), symbol(one.index), charts.strength(chart, one.subject)];
    const own = points.filter((point) => point.index === one.index);
    const spread = own.filter((point) => point.low != null);
    const [sure, doubtful, wrong] = [own.filter((p) => !p.note), own.filter((p) => p.note && !p.beyond), own.filter((p) => p.beyond)];
    const line = { stroke: paint, strokeWidth: 1.75, strokeDasharray: one.note ? "2 3" : null, opacity, ariaDescription: "series" };
    const interval = { stroke: paint, strokeWidth: 1.5, opacity };
    const dots = [
      Plot.dot(doubtful, { ...at, r: 10, fill: "var(--unsure-fill)", fillOpacity: 0.55 * opacity }),
      Plot.dot(own.filter((point) => point.best), { ...at, r: 9, stroke: "var(--ink)", strokeWidth: 1.25, opacity, ariaDescription: "front" }),
      Plot.dot(sure, { ...at, r: 4.5, symbol: shape, fill: paint, stroke: "var(--paper)", strokeWidth: 0.75, opacity, ariaDescription: "point" }),
      Plot.dot(doubtful, { ...at, r: 4.5, symbol: shape, fill: "var(--paper)", stroke: paint, strokeWidth: 1.75, opacity, ariaDescription: "doubtful point" }),
      Plot.dot(wrong, { ...at, r: 5, symbol: "times", stroke: paint, strokeWidth: 2.25, opacity, ariaDescription: "point beyond its bound" }),
    ];
    return [
      chart.joined ? Plot.line(own, { ...at, ...line }) : null,
      spreads(spread, interval),
      ...(chart.dotted ? dots : []),
    ];
  };
  return Plot.plot({
    className: "plot",
    ariaLabel: `Chart of ${chart.y.label} over ${chart.x.label}; the table has the same figures`,
    width,
    height,
    ...margins,
    style: charts.style,
    x: scale(chart.x),
    y: scale(chart.y),
    marks: [
      Plot.gridX(xTicks.ticks, charts.grid),
      Plot.gridY(yTicks.ticks, charts.grid),
      ...guides,
      ...series.flatMap(drawn),
      Plot.text(points.filter((point) => point.mark), { ...at, text: "mark", dy: -15, ...ink }),
      chart.dotted ? null : Plot.dot(points, Plot.pointer({ ...at, r: 4, fill: (point) => colour(point.index) })),
      Plot.tip(points, Plot.pointer({ ...at, title: "said", ...charts.tip(width) })),
      ...charts.here(here, at, width),
      Plot.axisX({ ...xTicks, tickSize: 0, color: "var(--quiet)", labelAnchor: "right", label: `${chart.x.label} →` }),
      Plot.axisY({ ...yTicks, tickSize: 0, color: "var(--quiet)", labelAnchor: "top", label: `↑ ${chart.y.label}` }),
    ],
  });
};
