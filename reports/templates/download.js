"use strict";
// The links hold gzip and work by themselves; with a script they give plain JSON Lines.
{
  const unpacked = (link) => {
    const packed = Uint8Array.from(atob(link.href.split(",", 2)[1]), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream, { headers: { "content-type": "application/x-ndjson" } }).blob();
  };

  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a.download");
    if (!link || !("DecompressionStream" in window)) return;
    event.preventDefault();
    const file = document.createElement("a");
    file.href = URL.createObjectURL(await unpacked(link));
    file.download = link.dataset.name;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 60_000);
  });
}
