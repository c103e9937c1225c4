"use strict";
// What packing.py has packed: base64 of gzip, as a stream of the bytes within.
const inflated = (base64) => {
  const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")));
};
