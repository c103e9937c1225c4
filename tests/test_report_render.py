"""The written page: self-contained, under a strict policy, and safe with any text in the results."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_runs import header, hostile, judged, large, measurement, nowhere, records, requirement, run_of, unfinished

from vitbench.conditions.record import Evidence, Validity
from vitbench.errors import HarnessError, OutputUnwritable
from vitbench.limits.roofline import Ceilings, Copy, Product
from vitbench.records import Record
from vitbench.reports import model, render
from vitbench.requirement import Status

HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "quotes": "\"'`><b onmouseover=alert(1)>",
    "the end of a script": "</script></style><!--<script>",
    "a template": "{{ 7 * 7 }}{% raw %}",
    "emoji": "\U0001f469\u200d\U0001f52c \U0001f600",
    "right to left": "\u202egpj.exe\u202c עברית العربية",
    "control characters": "a\x00b\x07c\r\nd  e\x85f",
    "half a surrogate pair": "\ud83d oh",
    "10,000 characters": "x" * 10_000,
    "nothing": "",
    "a link": "javascript:alert(1)",
}


class Document(HTMLParser):
    """The elements of a page, as a browser would find them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.styles: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        self._separate(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        if tag == "style":
            self.styles.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._separate(tag)

    def _separate(self, tag: str) -> None:
        if tag not in {"bdi", "span", "a", "strong", "code", "abbr", "svg", "use"}:
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._inside == "style":
            self.styles[-1] += data
        else:
            self.text += data

    @property
    def policy(self) -> dict[str, list[str]]:
        """The directives of the Content-Security-Policy."""
        (content,) = (
            attributes["content"] or ""
            for tag, attributes in self.elements
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        )
        return {words[0]: words[1:] for words in (directive.split() for directive in content.split("; "))}


def page_of(records: Sequence[Record], folder: Path) -> str:
    """The page of one run, as it would be read from its file."""
    target = folder / "report.html"
    render.write(model.build([run_of(records, folder)]), target)
    return target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the sample."""
    return page_of(records(), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def document(page: str) -> Document:
    """The page of the sample, parsed."""
    return Document(page)


def text_of(page: str) -> str:
    """What a reader reads, on one line."""
    return " ".join(Document(page).text.split())


def digest(text: str) -> str:
    """As a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_forbids_all_but_the_inlined_parts(document: Document) -> None:
    policy = document.policy
    assert set(policy) == {"default-src", "script-src", "style-src", "img-src", "font-src", "base-uri", "form-action"}
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert policy["img-src"] == policy["font-src"] == ["data:"]


def test_the_policy_names_the_hash_of_every_script_and_no_other(document: Document) -> None:
    executable = [digest(text) for kind, text in document.scripts if kind is None]
    assert executable == document.policy["script-src"]
    assert len(executable) == 1 + len(render.SCRIPTS) + 1 + len(render.CHART_SCRIPTS)


def test_the_policy_names_the_hash_of_every_style_sheet_and_of_the_charts(document: Document) -> None:
    inline = (render.ASSETS / render.CHART_LIBRARY_STYLE).read_text(encoding="utf-8")
    assert [*map(digest, document.styles), digest(inline)] == document.policy["style-src"]


def test_the_style_of_the_chart_library_is_the_one_that_the_policy_admits() -> None:
    library = (render.ASSETS / render.CHART_LIBRARY).read_text(encoding="utf-8")
    (template,) = re.findall(r"`(:where\(\.\$\{\w+\}\) \{\s+--plot-background[^`]+)`", library)
    expected = re.sub(r"\$\{\w+\}", "plot", template)
    assert (render.ASSETS / render.CHART_LIBRARY_STYLE).read_text(encoding="utf-8") == expected


def test_nothing_is_loaded_from_anywhere(document: Document) -> None:
    sources = [attributes.get("src") or attributes.get("srcset") for _, attributes in document.elements]
    links = [attributes["href"] or "" for tag, attributes in document.elements if attributes.get("href") and tag != "a"]
    assert [source for source in sources if source] == []
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert [style for style in document.styles if "@import" in style or re.search(r"url\((?!\"data:)", style)] == []


def test_there_are_no_inline_handlers_or_styles(document: Document) -> None:
    names = {name for _, attributes in document.elements for name in attributes}
    assert {name for name in names if name.startswith("on") or name == "style"} == set()


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(document: Document) -> None:
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    targets = {
        (attributes.get("href") or "")[1:]
        for _, attributes in document.elements
        if (attributes.get("href") or "").startswith("#")
    }
    assert len(ids) == len(set(ids))
    assert targets - set(ids) == set()


def test_the_first_screen_says_the_verdicts_in_sentences(page: str) -> None:
    text = text_of(page)
    assert "timm 1.0.31 — DOES NOT CONFORM: MUST 45/47 passed, 2 failed" in text
    assert "vit_pytorch 1.26.0 — INCOMPLETE: MUST 41/47 passed, 6 not offered" in text
    assert "reference 0.1.0 — CONFORMS: MUST 47/47 passed" in text


def test_the_first_screen_says_what_was_judged(page: str) -> None:
    text = text_of(page)
    assert "Started 22 Nov 2026, 15:38 UTC Took 12 min 42 s Preset standard Seed 0" in text
    assert "Device Intel(R) Xeon(R) Processor @ 2.70GHz" in text


def test_the_first_screen_has_throughput_with_its_spread(page: str) -> None:
    text = text_of(page)
    assert "85.5 ± 1.3 %" in text
    assert "78.9 ± 8.1 % not converged" in text


def test_every_status_is_a_word_and_not_a_colour_alone(document: Document) -> None:
    cells = sum(
        tag == "td" and (attributes.get("class") or "").startswith("cell-") for tag, attributes in document.elements
    )
    words = sum(
        document.text.count(word) for word in ("passed", "failed", "not offered", "harness error", "known failure")
    )
    assert cells == 55 * 5
    assert words >= cells


def test_a_failure_shows_reason_example_margin_and_the_command(page: str) -> None:
    text = text_of(page)
    assert "resize_position_embedding() returned the table unchanged for grid (2, 8) -> (4, 4)" in text
    assert "Margin 3.10·10⁹ times the error that is allowed Examples run 24" in text
    assert "position table (1, 17, 24): grid 2 x 8 to grid 4 x 4" in text
    assert "pytest --pyargs vitbench.suites.conformance -k VIT-POS-EQUAL-COUNT --impl timm --seed 0" in text


def test_the_throughput_table_has_every_figure(page: str) -> None:
    row = (
        "timm 1.0.31 inference, Ti/16@224 float32, eager, cpu, 1 thread 4 85.5 ± 1.3 % 46.8 ms 46.2 – 47.5 ms "
        "5,717,416 1.26 not watched 200 samples"
    )
    assert row in text_of(page)
    assert "± 8.1 % not converged" in text_of(page)


def test_the_throughput_table_says_why_there_is_no_figure(page: str) -> None:
    assert "4 – – 5,717,416 1.26 timed out: no result within 120 s (process ended)" in text_of(page)


def test_an_unfinished_run_is_announced_before_anything_else(tmp_path: Path) -> None:
    text = text_of(page_of(unfinished(), tmp_path))
    announcement = text.index("This run is not finished. The results have no footer")
    assert announcement < text.index("Started 22 Nov 2026")
    assert "Of 13 planned cells, 10 have no result, so what follows is only a part." in text
    assert "conformance/transformers stopped after 12 requirements, without a verdict" in text
    assert "conformance/vit_pytorch no result" in text


def test_a_finished_run_has_no_such_announcement(page: str) -> None:
    assert "not finished" not in text_of(page)


def test_unreadable_lines_are_counted(tmp_path: Path) -> None:
    run = run_of(records(), tmp_path)
    page = render.render(model.build([replace(run, damaged_lines=1)]))
    assert "1 line of run.jsonl could not be read and is left out." in text_of(page)


def test_the_raw_results_are_in_the_page_byte_for_byte(tmp_path: Path) -> None:
    run = run_of(records(), tmp_path)
    (link,) = (
        attributes
        for tag, attributes in Document(render.render(model.build([run]))).elements
        if tag == "a" and "download" in attributes
    )
    packed = (link["href"] or "").removeprefix("data:application/gzip;base64,")
    assert gzip.decompress(base64.b64decode(packed)) == run.path.read_bytes()
    assert (link["download"], link["data-name"]) == ("run.jsonl.gz", "run.jsonl")


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    assert page_of(records(), tmp_path) == page_of(records(), tmp_path)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_text_in_results_stays_text(text: str, tmp_path: Path) -> None:
    plain = Document(page_of(hostile("plain text"), tmp_path))
    attacked = Document(page_of(hostile(text), tmp_path))
    assert {tag for tag, _ in attacked.elements} - {tag for tag, _ in plain.elements} == set()
    assert attacked.policy == plain.policy
    assert [digest(script) for kind, script in attacked.scripts if kind is None] == plain.policy["script-src"]
    assert {name for _, attributes in attacked.elements for name in attributes if name.startswith("on")} == set()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_text_in_results_cannot_leave_the_embedded_chart_data(text: str, tmp_path: Path) -> None:
    document = Document(page_of(hostile(text), tmp_path))
    (data,) = (script for kind, script in document.scripts if kind == "application/json")
    assert "<" not in data
    assert len(json.loads(data)) == 2  # a throughput, a study's curve


def test_markup_is_shown_as_it_was_written(tmp_path: Path) -> None:
    assert HOSTILE["markup"] in text_of(page_of(hostile(HOSTILE["markup"]), tmp_path))


def test_missing_figures_are_dashes(tmp_path: Path) -> None:
    text = text_of(page_of([header(), nowhere(measurement())], tmp_path))
    assert "not measured no usable figure" in text
    assert "None" not in text
    assert "nan" not in text


def test_results_without_records_make_a_page(tmp_path: Path) -> None:
    text = text_of(page_of([header(planned=[], environment={})], tmp_path))
    for said in (
        "Nothing was judged",
        "No requirement was judged.",
        "Nothing was measured.",
        "do not say where they were made",
    ):
        assert said in text


def test_a_page_without_charts_does_not_carry_the_library(tmp_path: Path) -> None:
    page = page_of([header(), *judged("timm")], tmp_path)
    assert len(page) < 350_000
    assert len(Document(page).policy["script-src"]) == 1 + len(render.SCRIPTS)


def test_the_sample_page_is_small_enough_to_send(page: str) -> None:
    assert len(page.encode()) < 700_000


def test_many_records_make_a_page_of_bounded_size(tmp_path: Path) -> None:
    everything = large()
    assert len(page_of(everything, tmp_path)) < 450 * len(everything)


def test_an_unknown_status_is_shown(tmp_path: Path) -> None:
    odd = replace(requirement(), status="FLAKY")  # type: ignore[arg-type]  # as a newer writer might
    assert "Why: timm flaky" in text_of(page_of([header(), odd], tmp_path))


def test_an_error_of_the_harness_is_told_from_a_failure(tmp_path: Path) -> None:
    page = page_of([header(), requirement(status=Status.ERROR, reason="out of memory in the reference")], tmp_path)
    assert "Why: timm harness error" in text_of(page)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OutputUnwritable, match=r"cannot write .*file/report\.html: .*choose another place with --output"
    ):
        render.write(model.build([run_of(records(), tmp_path)]), tmp_path / "file" / "report.html")


def test_an_asset_that_would_end_its_element_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"evil\.js holds '</script'"):
        render._embeddable("evil.js", "let a = '</SCRIPT>'", "</script")


def test_every_asset_has_its_licence_and_its_origin_beside_it() -> None:
    named = (render.ASSETS / "README.md").read_text(encoding="utf-8")
    kept = {path.name for path in render.ASSETS.iterdir() if path.is_file()} - {"__init__.py", "README.md"}
    assert {name for name in kept if f"`{name}`" not in named} == set()


def test_a_trace_has_its_tables_or_the_reason_for_none(tmp_path: Path) -> None:
    page = page_of(records(), tmp_path)
    section = page[page.index('<section id="traces"') :].partition("</section>")[0]
    said = " ".join(text_of(section).split())
    assert "timm inference, Ti/16@224, float32, batch 4, eager on cpu most: aten::addmm, 50 %" in said
    assert "3 iterations of 60.0 ms, timed without profiler 46.8 ms; CPU Exec 90 %" in said
    assert "Operators: 2 of 33" in said
    assert "Kernels: 1 of 40" in said
    assert "A kernel ran for 75 % of the time" in said
    assert "no tables no tables: torch-tb-profiler raised KeyError" in said
    assert "no trace no trace: OSError: [Errno 28] No space left on device" in said


def test_a_report_without_traces_has_no_section_for_them(tmp_path: Path) -> None:
    page = page_of([record for record in records() if record.kind != "trace"], tmp_path)
    assert 'id="traces"' not in page
    assert "#traces" not in page


def test_a_figure_or_ceiling_that_cannot_be_believed_says_so_and_why(tmp_path: Path) -> None:
    busy = Evidence(verdict=Validity.INVALID, reasons=["others used 89%"], notes=[], window_s=2.0, readings=4)
    ceilings = Ceilings(
        products=[Product(arithmetic="float32", flops_per_s=2e11)], copy=Copy(bytes_per_s=1e10, buffer_bytes=2**28)
    )
    limits = measurement("torch", cell="limits", suite="limits", ceilings=ceilings, evidence=busy)
    text = text_of(page_of([header(), measurement("timm", evidence=busy), limits], tmp_path))
    first_screen = text[: text.index("No requirement was judged")]
    assert "INVALID" in first_screen
    assert "Measured ceilings of cpu: float32 200 GFLOP/s, copy 10.0 GB/s. INVALID, so that shares" in text
    (tmp_path / "believed").mkdir()
    believed = page_of([header(), measurement("timm"), replace(limits, evidence=None)], tmp_path / "believed")
    assert "INVALID" not in text_of(believed)
