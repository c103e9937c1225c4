"use strict";
// What Plot draws is one picture with one name. The names of its parts are nobody's to hear, but need a role to be allowed.
const picture = (svg) => {
  svg.setAttribute("role", "img");
  for (const part of svg.querySelectorAll("[aria-label]")) part.setAttribute("role", "group");
  for (const part of svg.querySelectorAll("[aria-description]")) {
    part.dataset.part = part.getAttribute("aria-description"); // ARIA 1.3, which not every checker of pages knows
    part.removeAttribute("aria-description");
  }
  return svg;
};
