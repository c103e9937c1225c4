"use strict";
// What every kind of chart is drawn with. Each kind adds its figures, in groups that the keyboard walks along, each with what
// is said of it; and its drawing, which gives an SVG.
const charts = { drawings: {}, figures: {} };
{
  const ruler = document.createElement("canvas").getContext("2d");
  charts.textWidth = (text) => {
    ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return ruler.measureText(text).width * 1.05; // the page's own font may come later, and be a little wider
  };

  // As much of a text as there is room for.
  charts.fitted = (text, pixels) => {
    if (charts.textWidth(text) <= pixels) return text;
    let end = text.length;
    while (end > 1 && charts.textWidth(`${text.slice(0, end)}…`) > pixels) end -= 1;
    return `${text.slice(0, end)}…`;
  };

  // Eight colours (--series-1 to --series-8), and a symbol besides for whoever cannot tell them apart.
  charts.colour = (index) => `var(--series-${index + 1})`;
  charts.symbol = (index) => ["circle", "square", "triangle", "diamond", "star", "wye", "hexagon", "cross"][index];

  charts.style = { fontSize: "12px", fontFamily: "inherit" };
  charts.ink = { fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 };
  charts.grid = { stroke: "var(--rule)", strokeOpacity: 1 };

  // The ticks of an axis whose texts do not touch, over so many pixels.
  charts.spaced = (axis, pixels, size) => {
    const along = axis.log ? Math.log : Number;
    const place = (value) => ((along(value) - along(axis.low)) / (along(axis.high) - along(axis.low))) * pixels;
    const kept = [];
    for (const tick of axis.ticks) {
      const before = kept.at(-1);
      if (!before || place(tick.at) - place(before.at) >= (size(before.text) + size(tick.text)) / 2) kept.push(tick);
    }
    return { ticks: kept.map((tick) => tick.at), text: (value) => kept.find((tick) => tick.at === value).text }; // a format would be asked for powers only
  };

  // Whoever is not chosen steps back.
  charts.strength = (chart, subject) => (chosen.about === (chart.about ?? "implementation") && chosen.name !== subject ? 0.2 : 1);

  // Where the keyboard is, with what hovering would show.
  charts.here = (here, channels, width) =>
    here
      ? [
          Plot.dot([here], { ...channels, r: 8, stroke: "var(--link)", strokeWidth: 2.5, ariaDescription: "here" }),
          Plot.tip([here], { ...channels, title: "said", ...charts.tip(width) }),
        ]
      : [];

  // What hovering shows; narrow enough on a phone to have room beside any point.
  charts.tip = (width) => ({ fill: "var(--raised)", stroke: "var(--strong-rule)", lineWidth: width < 480 ? 12 : 24, lineHeight: 1.3, pathFilter: "none" });
}
