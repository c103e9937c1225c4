"use strict";
// Draw each cell's history with Observable Plot, once it comes into view; colours are the page's own.
{
  const drawn = new Map(JSON.parse(document.getElementById("history-data").textContent).map((one) => [one.id, one]));

  const history = (one, width) => {
    const points = one.points.map((point, at) => ({ ...point, at }));
    const room = 7 * Math.max(...points.map((point) => point.run.length)) + 24;
    const last = points.length - 1;
    // As many runs as have room are named, the newest among them.
    const step = Math.ceil(points.length / Math.max(1, Math.floor(width / room)));
    const named = points.filter((point) => (last - point.at) % step === 0).map((point) => point.at);
    const axis = { ticks: named, tickFormat: (at) => points[at].run };
    return Plot.plot({
      className: "plot",
      ariaLabel: `Median latency of ${one.title} over time; the table below has the same figures`,
      width,
      height: 180,
      marginLeft: 64,
      marginRight: 48,
      style: { fontSize: "12px", fontFamily: "inherit" },
      x: { type: "linear", domain: [-0.3, last + 0.3], label: null },
      y: { label: `↑ ${one.unit}`, zero: true, ticks: 4, nice: true },
      marks: [
        Plot.gridY({ stroke: "var(--rule)", strokeOpacity: 1, ticks: 4 }),
        Plot.ruleX(one.changes, { x: (at) => at - 0.5, stroke: "var(--bad)", strokeWidth: 1.5 }),
        Plot.line(points, { x: "at", y: "value", stroke: "var(--bar)" }),
        Plot.ruleX(points.filter((point) => point.low !== null), { x: "at", y1: "low", y2: "high", stroke: "var(--ink)" }),
        Plot.dot(points, { x: "at", y: "value", r: 3.5, fill: (point) => (point.sure ? "var(--ink)" : "var(--unsure-fill)") }),
        Plot.tip(points, Plot.pointer({ x: "at", y: "value", title: "text", fill: "var(--raised)", stroke: "var(--strong-rule)", lineWidth: 24 })),
        Plot.axisX({ ...axis, tickSize: 0, color: "var(--quiet)" }),
        Plot.axisY({ tickSize: 0, color: "var(--quiet)", ticks: 4, label: `↑ ${one.unit}` }),
      ],
    });
  };

  const draw = (area) => {
    const width = Math.floor(area.clientWidth);
    if (!width || width === Number(area.dataset.width)) return;
    area.dataset.width = width;
    area.replaceChildren(picture(history(drawn.get(area.dataset.series), width)));
  };
  const resized = new ResizeObserver((entries) => entries.forEach((entry) => draw(entry.target)));
  const seen = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      seen.unobserve(entry.target);
      draw(entry.target);
      resized.observe(entry.target);
    }),
    { rootMargin: "400px" },
  );
  for (const area of document.querySelectorAll("[data-series]")) seen.observe(area);
}
