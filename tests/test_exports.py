"""What a scorecard is written as: JUnit XML that servers read, a badge, Markdown that stays what it is."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt
from sample_runs import (
    REQUIREMENTS,
    VERSIONS,
    header,
    hostile,
    judged,
    records,
    requirement,
    run_of,
    unfinished,
    verdict_of,
)

from vitbench.errors import UsageError
from vitbench.exports import badge, junit, markdown
from vitbench.records import Footer, Record, VerdictRecord
from vitbench.requirement import Status, Tally, Verdict
from vitbench.scorecard import Scorecard, scorecard, showing
from vitbench.wording import plain

FOOTER = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=762.4)
HOSTILE = {
    "markup": "<script>alert(1)</script></details></testcase>]]>",
    "a table's pipe": "a | b \\| c",
    "Markdown": "`x` ``` *a* _b_ ~~c~~ [d](javascript:e) ![f](g) $h$ :tada: https://example.org",
    "a mention": "@somebody closes #1",
    "a list": "- one",
    "a heading": "# one",
    "an enumeration": "1. one",
    "control characters": "a\x00b\x07c\x1b[31md\x1b]0;e\x07f\ufffeg\x85h",
    "half a surrogate pair": "\ud83d oh",
    "right to left": "\u202egpj.exe\u202c עברית",
    "entities": "&lt; &#64; &amp;",
    "lines": "one\n\n```\n</details>\n",
    "10,000 characters": "x" * 10_000,
    "nothing": "",
}


def card_of(records: Sequence[Record], folder: Path) -> Scorecard:
    return scorecard([run_of(records, folder)])


def suites_of(card: Scorecard) -> list[ET.Element]:
    return list(ET.fromstring(junit.render(card)))  # written a moment ago


def with_verdict(verdict: str, **changes: object) -> list[Record]:
    *ones, record = judged("reference")
    assert isinstance(record, VerdictRecord)
    return [header(), *ones, replace(record, verdict=verdict, **changes), FOOTER]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Scorecard:
    return card_of(records(), tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def suites(card: Scorecard) -> dict[str | None, ET.Element]:
    return {suite.get("name"): suite for suite in suites_of(card)}


def require_valid(document: str) -> None:
    """The rules of both usual schemas (Jenkins' junit-10.xsd, Ant's by Windy Road), the stricter one of each."""
    root = ET.fromstring(document)  # written a moment ago
    assert (root.tag, root.attrib) == ("testsuites", {})
    for number, suite in enumerate(root):
        assert suite.tag == "testsuite"
        required = {"name", "package", "id", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"}
        assert set(suite.attrib) == required
        assert all(suite.attrib.values())
        assert suite.get("id") == str(number)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * int(suite.get("tests", "")), "system-out", "system-err"]
        assert all(set(child.attrib) == {"name", "value"} and child.tag == "property" for child in suite[0])
        for case in suite.findall("testcase"):
            assert set(case.attrib) == {"name", "classname", "time"}
            assert (
                [" ".join(value.split()) for value in case.attrib.values()]
                == list(case.attrib.values())
                != ["", "", ""]
            )
            assert len(case) <= 1
            assert all(child.tag in {"failure", "error", "skipped"} for child in case)
            assert all(set(child.attrib) == {"message", "type"} and len(child) == 0 for child in case)
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.get(key) == str(len(suite.findall(f"testcase/{tag}")))
        for timed in (suite, *suite.findall("testcase")):
            assert re.fullmatch(r"\d+\.\d{3}", timed.get("time", ""))


@pytest.mark.parametrize(
    "start", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-02-03T04:05:06", "soon"]
)
def test_a_moment_outside_the_calendar_leaves_a_timestamp_that_schemas_take(tmp_path: Path, start: str) -> None:
    run = run_of([header(started_at=start), *judged("timm")], tmp_path)
    suite = ET.fromstring(junit.render(scorecard([run])))[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))


@pytest.mark.parametrize("kind", ["sample", "unfinished"])
def test_junit_keeps_to_the_usual_schemas(kind: str, tmp_path: Path) -> None:
    require_valid(junit.render(card_of(records() if kind == "sample" else unfinished(), tmp_path)))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_junit_is_valid_whatever_the_text(text: str, tmp_path: Path) -> None:
    document = junit.render(card_of(hostile(text), tmp_path))
    require_valid(document)
    document.encode("utf-8")
    assert "\x1b" not in document


def test_junit_has_a_suite_for_each_implementation_and_a_case_for_each_requirement(
    suites: dict[str | None, ET.Element],
) -> None:
    assert list(suites) == list(VERSIONS)
    cases = [case.get("name") for case in suites["timm"].findall("testcase")]
    assert sorted(filter(None, cases)) == sorted(identity for identity, _, _ in REQUIREMENTS)
    assert {case.get("classname") for case in suites["timm"].findall("testcase")} >= {"timm.POS", "timm.PATCH"}


def test_junit_tells_the_outcomes_apart(suites: dict[str | None, ET.Element]) -> None:
    counts = {
        name: tuple(suite.get(key) for key in ("tests", "failures", "errors", "skipped"))
        for name, suite in suites.items()
    }
    assert counts == {
        "reference": ("55", "0", "0", "0"),
        "timm": ("55", "3", "0", "1"),
        "torchvision": ("55", "0", "0", "5"),
        "transformers": ("55", "1", "1", "3"),
        "vit_pytorch": ("56", "1", "0", "7"),  # and its verdict
    }


def test_a_junit_failure_has_the_requirements_words_and_the_command(suites: dict[str | None, ET.Element]) -> None:
    failure = suites["timm"].find("testcase[@name='VIT-POS-TRANSPOSE']/failure")
    assert failure is not None
    assert failure.attrib == {
        "message": "failed: resizing and exchanging rows and columns do not commute for grid (2, 8) -> (8, 2): "
        "max|Δ| = 0.24",
        "type": "MUST",
    }
    lines = (failure.text or "").splitlines()
    assert lines[0] == "VIT-POS-TRANSPOSE (MUST): Resizing must commute with exchanging rows and columns."
    assert lines[-1] == (
        "  reproduce: pytest --pyargs vitbench.suites.conformance -k VIT-POS-TRANSPOSE --impl timm --seed 0"
    )


def test_a_known_failure_and_what_is_not_offered_are_skipped_with_the_reason(
    suites: dict[str | None, ET.Element],
) -> None:
    known = suites["transformers"].find("testcase[@name='VIT-PATCH-INDIVISIBLE']/skipped")
    absent = suites["torchvision"].find("testcase[@name='VIT-HEAD-MEAN']/skipped")
    assert known is not None
    assert absent is not None
    assert known.get("message", "").startswith("known failure: an image of 36 x 39 pixels")
    assert absent.get("message") == "not offered: pools by the class token only"


def test_a_junit_suite_has_the_verdict_and_how_it_came_about(suites: dict[str | None, ET.Element]) -> None:
    properties = {one.get("name"): one.get("value") for one in suites["timm"].iterfind("properties/property")}
    assert properties == {
        "verdict": "DOES NOT CONFORM",
        "implementation": "timm",
        "version": "1.0.31",
        "preset": "standard",
        "seed": "0",
        "vitbench": "0.1.0",
        "MUST": "45/47 passed, 2 failed",
        "SHOULD": "4/6 passed, 1 failed, 1 not offered",
        "MAY": "2/2 passed",
    }


@pytest.mark.parametrize(
    ("verdict", "element"),
    [
        (Verdict.CONFORMS, None),
        (Verdict.INCOMPLETE, "failure"),
        (Verdict.ADAPTER_BROKEN, "error"),
        (Verdict.HARNESS_ERROR, "error"),
        ("A LATER WORD", "error"),
    ],
)
def test_a_verdict_that_no_requirement_shows_is_a_case_of_its_own(
    verdict: str, element: str | None, tmp_path: Path
) -> None:
    (suite,) = suites_of(card_of(with_verdict(verdict, reason="because"), tmp_path))
    case = suite.find("testcase[@name='verdict']")
    assert (None if case is None else [(child.tag, child.get("message")) for child in case]) == (
        None if element is None else [(element, f"{verdict}: because")]
    )


def test_an_adapter_that_broke_is_no_empty_green_suite(tmp_path: Path) -> None:
    (broken,) = [record for record in judged("timm") if isinstance(record, VerdictRecord)]
    broken = replace(broken, verdict=Verdict.ADAPTER_BROKEN, reason="no build()")
    (suite,) = suites_of(card_of([header(), broken, FOOTER], tmp_path))
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")


def test_a_server_is_green_where_all_that_failed_is_known(tmp_path: Path) -> None:
    ones = [requirement(number=n, status=Status.KNOWN_FAILURE if n == 0 else Status.PASSED) for n in range(4)]
    (suite,) = suites_of(
        card_of([header(), *ones, verdict_of(ones, verdict=Verdict.DOES_NOT_CONFORM), FOOTER], tmp_path)
    )
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "0", "0", "1"]


def test_a_status_of_a_later_version_is_an_error_by_its_own_word(tmp_path: Path) -> None:
    one = replace(requirement(), status="UNEXPECTED_PASS")  # type: ignore[arg-type]  # as a newer writer might
    (suite,) = suites_of(card_of([header(), one], tmp_path))
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "unexpected pass"


def test_one_implementation_in_two_runs_has_two_classes(tmp_path: Path) -> None:
    runs = [run_of([header(), *judged("timm"), FOOTER], tmp_path, name) for name in ("a.jsonl", "b.jsonl")]
    names = [suite.get("name") for suite in suites_of(scorecard(runs))]
    classes = {case.get("classname") for suite in suites_of(scorecard(runs)) for case in suite.findall("testcase")}
    assert names == ["timm, a.jsonl", "timm, b.jsonl"]
    assert {"timm_a_jsonl.POS", "timm_b_jsonl.POS"} <= classes


def words_of(document: str) -> list[str]:
    svg = ET.fromstring(document)  # written a moment ago
    return [text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("verdict", "changes", "message", "colour"),
    [
        (Verdict.CONFORMS, {}, "47/47 MUST", "#2f7d32"),
        (Verdict.DOES_NOT_CONFORM, {"must": (47, 45, 2, 0, 0)}, "45/47 MUST", "#c62f2f"),
        (Verdict.DOES_NOT_CONFORM, {"may": (2, 1, 1, 0, 0)}, "47/47 MUST; 1 MAY failed", "#c62f2f"),
        (Verdict.DOES_NOT_CONFORM, {"should": (6, 4, 2, 0, 0)}, "47/47 MUST; 2 SHOULD failed", "#c62f2f"),
        (Verdict.INCOMPLETE, {"must": (47, 40, 0, 7, 0)}, "40/47 MUST", "#946200"),
        (Verdict.ADAPTER_BROKEN, {}, "adapter broken", "#c62f2f"),
        (Verdict.HARNESS_ERROR, {}, "harness error", "#6b6b6b"),
    ],
)
def test_a_badge_counts_all_musts_in_the_colour_of_the_verdict(
    verdict: Verdict, changes: dict[str, object], message: str, colour: str, tmp_path: Path
) -> None:
    changes = {
        key: Tally(**dict(zip(("total", "passed", "failed", "not_offered", "errors"), value, strict=True)))
        if isinstance(value, tuple)
        else value
        for key, value in changes.items()
    }
    document = badge.render(card_of(with_verdict(verdict, **changes), tmp_path))
    assert words_of(document) == ["vitbench", message]
    assert f'fill="{colour}"' in document


def test_a_selection_is_no_verdict_on_a_badge(tmp_path: Path) -> None:
    assert words_of(badge.render(card_of([header(), *judged("timm")[:9]], tmp_path))) == ["vitbench", "no verdict"]


def test_a_badge_can_be_heard_and_asks_for_nothing(tmp_path: Path) -> None:
    document = badge.render(card_of([header(), *judged("timm"), FOOTER], tmp_path))
    svg = ET.fromstring(document)  # written a moment ago
    said = "vitbench: 45/47 MUST (timm 1.0.31: DOES NOT CONFORM)"
    assert (svg.get("role"), svg.get("aria-label")) == ("img", said)
    assert svg[0].text == said
    assert re.findall(r"https?://[^\"]+", document) == ["http://www.w3.org/2000/svg"]


def test_a_badge_is_as_wide_as_its_text() -> None:
    assert [badge.width(text) for text in ("", "MUST", "47/48 MUST", "47/48 MUST, 12 others failed")] == [
        0,
        32,
        68,
        163,
    ]


def test_text_on_a_badge_has_contrast_enough() -> None:
    def luminance(colour: str) -> float:
        digits = colour.lstrip("#")
        parts = [
            int(d * 2 if len(digits) == 3 else d, 16) / 255
            for d in re.findall(".." if len(digits) == 6 else ".", digits)
        ]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    grounds = {*badge.COLOURS.values(), badge.UNKNOWN, badge.GROUND}
    assert [ground for ground in grounds if 1.05 / (luminance(ground) + 0.05) < 4.5] == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_badge_is_an_svg_whatever_the_text(text: str, tmp_path: Path) -> None:
    assert words_of(badge.render(card_of(hostile(text), tmp_path)))[0] == "vitbench"


def test_a_badge_is_of_one_implementation(card: Scorecard) -> None:
    with pytest.raises(UsageError, match="choose one of reference, timm, torchvision, transformers, vit_pytorch with"):
        badge.render(card)


def test_markdown_has_the_verdicts_on_top_and_what_differs_below(card: Scorecard) -> None:
    lines = markdown.render(card).splitlines()
    assert lines[:6] == [
        "## vitbench scorecard: 2 of 5 implementations conform",
        "",
        "| Implementation | Verdict | MUST | SHOULD | MAY |",
        "| --- | --- | --- | --- | --- |",
        "| reference 0.1.0 | **CONFORMS** | 47/47 | 6/6 | 2/2 |",
        "| timm 1.0.31 | **DOES NOT CONFORM** | 45/47 | 4/6 | 2/2 |",
    ]
    assert "| `VIT-POS-EQUAL-COUNT` | MUST | ✓ | **✗ failed** | ✓ | ✓ | – not offered |" in lines
    assert "| `VIT-PATCH-INDIVISIBLE` | MUST | ✓ | ✓ | ✓ | ✗ known failure | ✓ |" in lines
    assert lines.index("| `VIT-MLP-WIDTH` | MUST | ✓ | ✓ | ✓ | ✓ | ✓ |") > lines.index(
        "<details><summary>Passed by all 5: 39 requirements</summary>"
    )


def test_markdown_folds_a_failure_with_reason_example_and_command(card: Scorecard) -> None:
    text = (
        markdown.render(card)
        .split("<summary>VIT-POS-EQUAL-COUNT (MUST): timm failed</summary>")[1]
        .split("</details>")[0]
    )
    assert "resize_position_embedding() returned the table unchanged" in text
    assert "position table (1, 17, 24): grid 2 x 8 to grid 4 x 4\n```" in text
    assert "Margin: 3.10·10⁹ times the error that is allowed." in text
    assert "```sh\npytest --pyargs vitbench.suites.conformance -k VIT-POS-EQUAL-COUNT --impl timm --seed 0\n```" in text


def test_markdown_lists_what_is_chosen_and_says_what_is_not(card: Scorecard) -> None:
    text = markdown.render(showing(card, lambda row: row.area == "MLP"))
    assert text.count("| `VIT-") == 3
    assert "52 requirements left out by the filters chosen." in text


def test_markdown_says_that_a_run_is_unfinished(tmp_path: Path) -> None:
    text = markdown.render(card_of(unfinished(), tmp_path))
    assert "> run.jsonl: this run did not come to its end, so what follows is only a part of it." in text


class Rendered(HTMLParser):
    """A document as GitHub would render it, but for GitHub's own references and symbols."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []  # outside code, in pieces between tags and comments
        self.cells: list[int] = []  # of each row
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(document))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.cells.append(0)
        if tag in {"th", "td"}:
            self.cells[-1] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" not in self.open:
            self.text.append(data)


def test_markdown_renders_as_tables_and_folds(card: Scorecard) -> None:
    page = Rendered(markdown.render(card))
    assert (page.tags.count("table"), page.tags.count("details")) == (5, 8)
    assert set(page.cells) == {3, 5, 6, 7}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_markdown_stays_what_it_is_whatever_the_text(text: str, tmp_path: Path) -> None:
    document = markdown.render(card_of(hostile(text), tmp_path))
    page = Rendered(document)
    tables = {"table", "thead", "tbody", "tr", "th", "td"}
    ours = {"h2", "h3", "p", "strong", "code", "pre", "details", "summary", "blockquote"}
    assert set(page.tags) <= tables | ours
    assert page.open == []
    assert page.cells == [5, 5, 2, 2, 3, 3]
    assert not [piece for piece in page.text if re.search(r"[@#]\w|:tada:|://", piece)]
    assert "\x1b" not in document
    shown = re.sub(r"\s+", " ", "".join(page.text))
    assert plain(text)[:60] in shown
