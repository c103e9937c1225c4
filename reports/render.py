"""Puts a report's model into templates and writes one file that needs nothing beside it.

Style sheets and scripts are inlined, and the page's Content-Security-Policy names the hash of each: nothing else
runs, and nothing is loaded.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vitbench import __version__, units
from vitbench.errors import HarnessError, OutputUnwritable
from vitbench.reports.model import Report, Source
from vitbench.reports.packing import Packed, packed, packed_rows
from vitbench.reports.pictures import SCALE
from vitbench.wording import abridged, straight

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = Path(__file__).parent / "assets"

STYLES = (
    "fonts.css",
    "base.css",
    "summary.css",
    "requirements.css",
    "tables.css",
    "charts.css",
    "studies.css",
)  # and print.css
EARLY_SCRIPTS = ("theme.js",)  # before the first paint
SCRIPTS = ("inflated.js", "pages.js", "filters.js", "anchors.js", "copy.js", "download.js", "chosen.js")
CHART_LIBRARY = "plot-0.6.17.min.js"
CHART_LIBRARY_STYLE = "plot-0.6.17.inline.css"  # the style element that the library puts into every chart
CHART_SCRIPTS = (
    "picture.js",
    "charts-parts.js",
    "charts-bars.js",
    "charts-series.js",
    "charts-stacks.js",
    "charts-ratios.js",
    "charts-save.js",
    "charts.js",
    "charts-walk.js",
)
SPARSE = (
    "low",
    "high",
    "note",
    "mark",
    "best",
    "beyond",
    "row",
    "subject",
)  # of a point: left out of the page where they say nothing

FILTERS = (
    abridged,
    packed_rows,
    straight,
    units.bytes_per_s,
    units.count,
    units.data_size,
    units.duration,
    units.flops,
    units.flops_per_s,
    units.giga,
    units.tera,
    units.images_per_s,
    units.interval,
    units.moment,
    units.number,
    units.percent,
    units.percent_interval,
    units.ratio,
    units.seconds,
    units.seconds_interval,
)


@dataclass(frozen=True, kw_only=True)
class Download:
    """A results file as it lies in the page."""

    name: str
    size: int
    packed: Packed


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page needs beside the report: its own parts, and the policy that admits them."""

    kind: str  # report; scorecard: the same without measurements; site
    version: str
    policy: str
    styles: tuple[Markup, ...]
    early_scripts: tuple[Markup, ...]
    scripts: tuple[Markup, ...]
    chart_data: Sequence[Mapping[str, Any]]
    downloads: tuple[Download, ...]


def write(report: Report, path: Path) -> int:
    """Write the report and return its size in bytes.

    Raises:
        OutputUnwritable: the place cannot be written to.
    """
    page = render(report).encode("utf-8", errors="replace")  # half a surrogate pair is valid JSON, but no text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(page)
    except OSError as error:
        raise OutputUnwritable(
            f"cannot write {path}: {error.strerror or error}; choose another place with --output"
        ) from error
    return len(page)


def render(report: Report, *, scorecard: bool = False) -> str:
    """The report as one HTML document, or what it says of conformance alone."""
    kind = "scorecard" if scorecard else "report"
    return _templates().get_template("report.html").render(report=report, page=_page(report, kind))


def content_security_policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Admit these inline style sheets and scripts, data: images and fonts, and nothing else from anywhere."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hashes(scripts)}",
            f"style-src {_hashes(styles)}",
            "img-src data:",
            "font-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({function.__name__: function for function in FILTERS})
    environment.globals["asset"] = _base64_asset
    environment.globals["study_scale"] = SCALE
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment


def _page(report: Report, kind: str) -> Page:
    drawn = report.drawn if kind == "report" else ()
    return _framed(
        kind,
        (*STYLES, "print.css"),
        SCRIPTS,
        CHART_SCRIPTS if drawn else (),
        columns=len(report.matrix.columns),
        chart_data=[
            {**asdict(chart, dict_factory=_without_blanks), "caption": report.captions[chart.id]} for chart in drawn
        ],
        downloads=tuple(_download(source) for source in report.sources),
    )


def site_page(template: str, *, site: object, drawn: Sequence[Mapping[str, Any]] = ()) -> str:
    """A page of a site; what is drawn comes with the library for it."""
    page = _framed("site", (*STYLES, "site.css", "print.css"), (), ("picture.js", "history.js") if drawn else ())
    return _templates().get_template(template).render(site=site, page=page, drawn=drawn)


def _framed(
    kind: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    chart_scripts: Sequence[str],
    *,
    columns: int = 0,
    chart_data: Sequence[Mapping[str, Any]] = (),
    downloads: tuple[Download, ...] = (),
) -> Page:
    """Everything inlined, and the policy that admits it; the chart library only where there are charts."""
    rendered = [_style(name, columns=columns) for name in styles]
    early = [_script(TEMPLATES / name) for name in EARLY_SCRIPTS]
    late = [_script(TEMPLATES / name) for name in scripts]
    admitted = list(rendered)
    if chart_scripts:
        late += [_script(ASSETS / CHART_LIBRARY), *(_script(TEMPLATES / name) for name in chart_scripts)]
        admitted.append((ASSETS / CHART_LIBRARY_STYLE).read_text(encoding="utf-8"))
    return Page(
        kind=kind,
        version=__version__,
        policy=content_security_policy(admitted, [*early, *late]),
        styles=tuple(Markup(style) for style in rendered),  # noqa: S704  # our own files, checked by _embeddable
        early_scripts=tuple(Markup(script) for script in early),  # noqa: S704
        scripts=tuple(Markup(script) for script in late),  # noqa: S704
        chart_data=chart_data,
        downloads=downloads,
    )


def _without_blanks(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of thousands of points most have nothing to say here, and no screen shows more than six digits of a place."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in pairs
        if name not in SPARSE or (value not in (None, "") and value is not False)
    }


def _style(name: str, *, columns: int) -> str:
    return _embeddable(name, _templates().get_template(name).render(columns=columns), "</style")


def _script(path: Path) -> str:
    return _embeddable(path.name, path.read_text(encoding="utf-8"), "</script")


def _embeddable(name: str, text: str, end: str) -> str:
    """Refuse what would end its element early; the rest is what the browser hashes, byte for byte."""
    if end in text.lower() or "<!--" in text or "\r" in text:
        raise HarnessError(f"{name} holds {end!r}, '<!--' or a carriage return, so it cannot be inlined")
    return text


def _hashes(texts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _base64_asset(name: str) -> str:
    return base64.b64encode((ASSETS / name).read_bytes()).decode()


def _download(source: Source) -> Download:
    return Download(name=source.name, size=len(source.content), packed=packed(source.content))
