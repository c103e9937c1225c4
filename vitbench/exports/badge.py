"""The badge of a README: how many of all MUSTs an implementation passed, in the colour of its verdict.

An SVG of its own: no font, no style and no image is loaded.
"""

from xml.etree import ElementTree as ET

from vitbench.errors import UsageError
from vitbench.requirement import Verdict, failed_besides
from vitbench.scorecard import NO_VERDICT, Scorecard, Standing
from vitbench.wording import abridged, plain, xml_text

_LABEL = "vitbench"
GROUND = "#555"
COLOURS: dict[str, str] = {  # white text on each has a contrast of at least 4.5
    Verdict.CONFORMS: "#2f7d32",
    Verdict.DOES_NOT_CONFORM: "#c62f2f",
    Verdict.INCOMPLETE: "#946200",
    Verdict.ADAPTER_BROKEN: "#c62f2f",
}
UNKNOWN = "#6b6b6b"
_HEIGHT, _BASELINE, _PADDING, _FONT_SIZE = 20, 14, 6, 11  # pixels
_FONTS = "Verdana,Geneva,'DejaVu Sans',sans-serif"
_LONGEST = 80  # characters

# Advance widths of Verdana, in thousandths of the font size. ``textLength`` makes any other font keep to them.
_WIDTHS = dict(zip("0123456789", [636] * 10, strict=True)) | {
    " ": 352, "/": 454, ",": 364, ".": 364, ":": 454, ";": 454, "-": 454, "_": 636, "(": 454, ")": 454, "i": 274, "j": 344,
    "l": 274, "f": 352, "t": 394, "r": 427, "s": 521, "c": 521, "z": 525, "k": 592, "v": 592, "x": 592, "y": 592,
    "a": 601, "e": 596, "o": 607, "b": 623, "d": 623, "g": 623, "p": 623, "q": 623, "h": 633, "n": 633, "u": 633,
    "w": 818, "m": 973, "I": 421, "J": 455, "L": 557, "F": 575, "E": 632, "T": 616, "S": 684, "B": 686, "A": 684,
    "C": 698, "P": 603, "R": 695, "K": 693, "X": 685, "Y": 615, "V": 684, "Z": 685, "U": 732, "N": 748, "H": 751,
    "D": 771, "G": 775, "O": 787, "Q": 787, "M": 843, "W": 989,
}  # fmt: skip
_WIDEST = 1000


def render(card: Scorecard) -> str:
    """The badge as an SVG document.

    Raises:
        UsageError: a badge is of one implementation, and there are several.
    """
    if len(card.standings) > 1:
        names = list(dict.fromkeys(plain(standing.column.implementation) for standing in card.standings))
        choose = f"choose one of {', '.join(names)} with --impl"
        if len(names) < len(card.standings):
            labels = ", ".join(plain(standing.column.label) for standing in card.standings)
            choose = f"name one RUN only, with --impl where it holds several: there are {labels}"
        raise UsageError(f"a badge is of one implementation in one run; {choose}")
    (standing,) = card.standings
    return _svg(_LABEL, abridged(message(standing), _LONGEST), COLOURS.get(standing.verdict, UNKNOWN), standing)


def message(standing: Standing) -> str:
    """``47/48 MUST``, ``48/48 MUST; 1 MAY failed``; where no count says it, what keeps it from conforming."""
    if standing.verdict in {NO_VERDICT, Verdict.ADAPTER_BROKEN, Verdict.HARNESS_ERROR}:
        return standing.verdict.lower()
    must = standing.must
    besides = failed_besides(standing.should, standing.may) if must.passed == must.total else ""
    return f"{must.passed}/{must.total} MUST{besides}"


def _svg(label: str, text: str, colour: str, standing: Standing) -> str:
    left, right = width(label) + 2 * _PADDING, width(text) + 2 * _PADDING
    said = xml_text(f"{label}: {text} ({abridged(standing.title, _LONGEST)}: {standing.said})")
    size = {"width": str(left + right), "height": str(_HEIGHT)}
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg"} | size | {"role": "img", "aria-label": said})
    ET.SubElement(svg, "title").text = said
    clip = ET.SubElement(svg, "clipPath", {"id": "round"})
    ET.SubElement(clip, "rect", size | {"rx": "3"})
    boxes = ET.SubElement(svg, "g", {"clip-path": "url(#round)"})
    ET.SubElement(boxes, "rect", {"width": str(left), "height": str(_HEIGHT), "fill": GROUND})
    ET.SubElement(boxes, "rect", {"x": str(left), "width": str(right), "height": str(_HEIGHT), "fill": colour})
    words = ET.SubElement(svg, "g", {"fill": "#fff", "font-family": _FONTS, "font-size": str(_FONT_SIZE)})
    for start, word in ((_PADDING, label), (left + _PADDING, text)):
        place = {"x": str(start), "y": str(_BASELINE), "textLength": str(width(word))}
        ET.SubElement(words, "text", place | {"lengthAdjust": "spacingAndGlyphs"}).text = xml_text(word)
    ET.indent(svg, space="")
    return ET.tostring(svg, encoding="unicode") + "\n"


def width(text: str) -> int:
    """Of a text as set in Verdana, in whole pixels."""
    return round(sum(_WIDTHS.get(character, _WIDEST) for character in text) * _FONT_SIZE / 1000)
