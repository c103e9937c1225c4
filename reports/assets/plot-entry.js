export {
  areaY, axisX, axisY, barX, barY, dot, frame, gridX, gridY, line, link, plot, pointer, rectY, ruleX, ruleY, stackX, stackY, text, tip,
} from "@observablehq/plot";
