"""Pictures of a report: ``python scripts/screenshots.py PAGES IMAGES``; ``scripts/screenshots.sh`` makes the pages.

Desktop and phone, light and dark, and a chart, by the same headless Chromium as the tests of the report.
"""

import base64
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from chromium import PHONE, Browser, chromium

DESKTOP = (1280, 1100)

FIRST_SCREENS = {
    "report.png": (DESKTOP, "light"),
    "report-dark.png": (DESKTOP, "dark"),
    "report-phone.png": (PHONE, "light"),
    "report-phone-dark.png": (PHONE, "dark"),
}
PARTS = {  # the page, and where of it the picture begins and ends
    "charts.png": ("report.html", "#throughput .charts", "#throughput .charts"),
    "site.png": ("site/index.html", "#summary", "#turns"),
    "history.png": ("site/history.html", "#summary", "section:last-of-type"),
    "comparison.png": ("comparison.html", "#differences-title", "#differences .charts"),
}
EDGE = "document.querySelector('{}').getBoundingClientRect().{}"
_ABOUT = 20  # pixels above and below


def main(pages: Path, images: Path) -> int:
    """Take every picture of which there is a page; the exit code."""
    with chromium() as browser:
        for name, (size, theme) in FIRST_SCREENS.items():
            show(browser, pages / "report.html", size, theme)
            keep(browser, images / name, (0, 0, *size))
        for name, (page, first, last) in PARTS.items():
            if (pages / page).exists():
                show(browser, pages / page, DESKTOP, "light")
                top, bottom = (browser.run(EDGE.format(one, edge)) for one, edge in ((first, "top"), (last, "bottom")))
                keep(browser, images / name, (0, top - _ABOUT, DESKTOP[0], bottom - top + 2 * _ABOUT))
    return 0


def show(browser: Browser, page: Path, size: tuple[int, int], theme: str) -> None:
    """Load the page as a visitor with this screen and this taste sees it first."""
    browser.open(page)
    browser.resize(*size)
    browser.prefer(theme)
    drawn = "[...document.querySelectorAll('.plot-area')].every((area) => area.dataset.width == Math.floor(area.clientWidth))"
    browser.wait(lambda: browser.run(drawn))


def keep(browser: Browser, image: Path, box: tuple[float, float, float, float]) -> None:
    """Write what is within x, y, width and height of the page."""
    x, y, width, height = box
    clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
    taken = browser.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    image.write_bytes(base64.b64decode(taken["data"]))
    sys.stdout.write(f"{image}: {image.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
