"use strict";
// A chart as a file of its own for a paper or a slide, in light colours on white: with its title, on what it was measured, its
// key and how to read it.
{
  const SCALE = 3; // pixels of a PNG to one of the page
  const element = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };

  // Nothing is painted in between, so that a dark page stays dark to its reader.
  const onPaper = (make) => {
    const root = document.documentElement;
    const { theme } = root.dataset;
    root.dataset.theme = "light";
    root.style.setProperty("--paper", "#fff");
    try {
      return make();
    } finally {
      root.style.removeProperty("--paper");
      if (theme === undefined) delete root.dataset.theme;
      else root.dataset.theme = theme;
    }
  };

  const resolved = (shown) => {
    const copy = shown.cloneNode(true);
    const originals = [shown, ...shown.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((made, index) => {
      const seen = getComputedStyle(originals[index]);
      for (const name of ["fill", "stroke"]) if (made.hasAttribute(name)) made.setAttribute(name, seen[name]);
    });
    for (const one of copy.querySelectorAll("style, [aria-label=tip], [data-part=here]")) one.remove();
    for (const name of ["style", "class", "font-family"]) copy.removeAttribute(name);
    copy.setAttribute("font-size", "12");
    return copy;
  };

  const keyOf = (figure, width, from) => {
    let [x, y] = [8, from + 18];
    const parts = [...figure.querySelectorAll(".legend [aria-pressed=true]")].flatMap((button) => {
      const across = 36 + charts.textWidth(button.textContent);
      if (x + across > width && x > 8) [x, y] = [8, y + 20];
      const swatch = resolved(button.querySelector("svg"));
      swatch.setAttribute("x", x);
      swatch.setAttribute("y", y - 11);
      const label = element("text", { x: x + 18, y }, button.textContent);
      x += across;
      return [swatch, label];
    });
    return { parts, end: parts.length ? y + 10 : from + 6 };
  };

  // Lines that fit, also in the wider letters of a reader without the page's own; a word that is too long is parted.
  const linesOf = (text, room) => {
    const fits = (line) => charts.textWidth(line) <= room;
    const lines = [""];
    for (const word of text.trim().split(/\s+/)) {
      const joined = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
      if (fits(joined)) {
        lines.splice(-1, 1, joined);
        continue;
      }
      if (lines.at(-1)) lines.push("");
      for (const letter of word) {
        if (fits(lines.at(-1) + letter)) lines.push(lines.pop() + letter);
        else lines.push(letter);
      }
    }
    return lines;
  };

  // Paragraphs one below the other from a height on, and where they end.
  const paragraphs = (texts, width, from, attributes = {}) => {
    const lines = texts.filter(Boolean).flatMap((text) => linesOf(text, (width - 16) * 0.88));
    const parts = lines.map((line, index) => element("text", { x: 8, y: from + 12 + 16 * index, ...attributes }, line));
    return { parts, end: from + 16 * lines.length };
  };

  const standalone = (figure) => {
    const shown = figure.querySelector(".plot-area > svg");
    const [width, height] = [shown.width.baseVal.value, shown.height.baseVal.value];
    const { fontFamily, color } = getComputedStyle(document.body);
    const { chart } = charts.state.get(figure.querySelector("[data-chart]").dataset.chart);
    const title = paragraphs([figure.querySelector("figcaption").textContent], width, 6, { "font-weight": 600 });
    const conditions = paragraphs([chart.caption[0]], width, title.end);
    const key = keyOf(figure, width, conditions.end);
    const told = [...figure.querySelectorAll(":scope > p")].map((told) => told.textContent);
    const reading = paragraphs([...chart.caption.slice(1), ...told], width, key.end + height + 6);
    const drawing = resolved(shown);
    drawing.setAttribute("y", key.end);
    drawing.setAttribute("overflow", "visible"); // of a label in the deeper letters of another font
    const whole = reading.end + 8;
    const file = element("svg", { width, height: whole, viewBox: `0 0 ${width} ${whole}`, "font-family": fontFamily, "font-size": 12, fill: color });
    const ground = element("rect", { width: "100%", height: "100%", fill: "#fff" });
    file.append(ground, ...[title, conditions, key].flatMap(({ parts }) => parts), drawing, ...reading.parts);
    return file;
  };

  const written = (file) => new XMLSerializer().serializeToString(file);

  // A picture within a picture sees nothing of the page, so that the letters go with it.
  const pixels = async (file) => {
    const faces = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).filter((rule) => rule instanceof CSSFontFaceRule && rule.cssText.includes("Sans"));
    file.prepend(element("style", {}, faces.map((rule) => rule.cssText).join("\n")));
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(written(file))}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [file.getAttribute("width") * SCALE, file.getAttribute("height") * SCALE];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  };

  const formats = {
    svg: async (file) => new Blob([written(file)], { type: "image/svg+xml" }),
    png: pixels,
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".save");
    if (!button) return;
    const figure = button.closest("figure");
    const { format } = button.dataset;
    const content = await formats[format](onPaper(() => standalone(figure)));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = `${figure.querySelector("[data-chart]").dataset.chart}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}
