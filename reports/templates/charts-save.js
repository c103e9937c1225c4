"use strict";
// A chart as a file of its own, with its title and its key: the page's colours and letters are written into it.
{
  const element = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };

  const resolved = (shown) => {
    const copy = shown.cloneNode(true);
    const originals = [shown, ...shown.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((made, index) => {
      const seen = getComputedStyle(originals[index]);
      for (const name of ["fill", "stroke"]) if (made.hasAttribute(name)) made.setAttribute(name, seen[name]);
    });
    for (const one of copy.querySelectorAll("style, [aria-label=tip]")) one.remove();
    for (const name of ["style", "class", "font-family"]) copy.removeAttribute(name);
    copy.setAttribute("font-size", "12");
    return copy;
  };

  const standalone = (figure) => {
    const shown = figure.querySelector(".plot-area > svg");
    const [width, height] = [shown.width.baseVal.value, shown.height.baseVal.value];
    const { fontFamily, color, backgroundColor } = getComputedStyle(document.body);
    let [x, y] = [8, 42];
    const key = [...figure.querySelectorAll(".legend [aria-pressed=true]")].flatMap((button) => {
      const across = 36 + charts.textWidth(button.textContent);
      if (x + across > width && x > 8) [x, y] = [8, y + 20];
      const swatch = resolved(button.querySelector("svg"));
      swatch.setAttribute("x", x);
      swatch.setAttribute("y", y - 11);
      const label = element("text", { x: x + 18, y }, button.textContent);
      x += across;
      return [swatch, label];
    });
    const chart = resolved(shown);
    chart.setAttribute("y", key.length ? y + 10 : 26);
    const whole = height + Number(chart.getAttribute("y")) + 6;
    const file = element("svg", { width, height: whole, viewBox: `0 0 ${width} ${whole}`, "font-family": fontFamily, "font-size": 12, fill: color });
    const title = element("text", { x: 8, y: 18, "font-weight": 600 }, figure.querySelector("figcaption").textContent);
    file.append(element("rect", { width: "100%", height: "100%", fill: backgroundColor }), title, ...key, chart);
    return new XMLSerializer().serializeToString(file);
  };

  document.addEventListener("click", (event) => {
    const figure = event.target.closest(".save")?.closest("figure");
    if (!figure) return;
    const file = document.createElement("a");
    file.href = URL.createObjectURL(new Blob([standalone(figure)], { type: "image/svg+xml" }));
    file.download = `${figure.querySelector("[data-chart]").dataset.chart}.svg`;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 60_000);
  });
}
