"use strict";
// Gives the results as plain JSON Lines. Short ones lie in a link that works by itself, as gzip; of long ones the samples
// lie apart, as packing.py says, and are put back into the text here.
{
  // A number as Python's repr() and JSON have it: 5.8e-05, not 0.000058; 1.0, not 1.
  const written = (value) => {
    if (value > 0 && value < 1e-4) return value.toExponential().replace(/e-(\d)$/, "e-0$1");
    return Number.isInteger(value) ? `${value}.0` : String(value);
  };
  const restored = (content) => {
    const { counts, units, least } = JSON.parse(new TextDecoder().decode(content.subarray(0, content.indexOf(10))));
    const body = content.subarray(content.indexOf(10) + 1);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const encoder = new TextEncoder();
    const parts = [];
    let [next, from] = [0, 4 * total];
    counts.forEach((count, list) => {
      const seconds = units[list] === "divided" ? (ns) => ns / 1e9 : (ns) => ns * 1e-9;
      const texts = Array.from({ length: count }, (_, index) => {
        const at = next + index;
        const distance = body[at] + 2 ** 8 * body[at + total] + 2 ** 16 * body[at + 2 * total] + 2 ** 24 * body[at + 3 * total];
        return written(seconds(least[list] + distance));
      });
      const gap = body.indexOf(0, from);
      parts.push(body.subarray(from, gap), encoder.encode(texts.join(", ")));
      [next, from] = [next + count, gap + 1];
    });
    return new Blob([...parts, body.subarray(from)], { type: "application/x-ndjson" });
  };

  const results = async (source) => {
    const { packed } = source.dataset;
    const content = await inflated(packed ? document.getElementById(packed).textContent : source.href.split(",", 2)[1]).arrayBuffer();
    return packed ? restored(new Uint8Array(content)) : new Blob([content], { type: "application/x-ndjson" });
  };

  document.addEventListener("click", async (event) => {
    const source = event.target.closest(".download");
    if (!source) return;
    if (!("DecompressionStream" in window)) {
      if (source.dataset.packed) source.nextElementSibling.textContent = "This browser cannot unpack it; a newer one can.";
      return;
    }
    event.preventDefault();
    const file = document.createElement("a");
    file.href = URL.createObjectURL(await results(source));
    file.download = source.dataset.name;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 60_000);
  });
}
