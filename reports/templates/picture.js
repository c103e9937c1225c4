"use strict";
// What Plot draws is one picture with one name. The names of its parts are nobody's to hear, but need a role to be allowed.
const picture = (svg) => {
  svg.setAttribute("role", "img");
  for (const part of svg.querySelectorAll("[aria-label]")) part.setAttribute("role", "group");
  return svg;
};
