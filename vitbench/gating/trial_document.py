"""What a self-test of the gate found: tables as Markdown, a plot, and everything as JSON."""

import importlib.util
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import StringIO

from vitbench.errors import UsageError
from vitbench.gating.outcome import as_relative, percent
from vitbench.gating.rules import RULES
from vitbench.gating.selftest import BUDGETS_S, IDENTICAL, STATED, Observed, Rates
from vitbench.gating.sequential import Design
from vitbench.gating.slowdown import KINDS

SHOWN_BUDGET_S = 120.0  # of the table of slowdowns and of the plot


def markdown(found: Sequence[Rates], design: Design) -> str:
    """Three tables: what the gate and the usual rules find, what each part of the design buys, what more time buys."""
    of_design = [one for one in found if _of_own_design(one)]
    return "\n".join(
        [
            (
                f"Slowdowns of {percent(as_relative(design.delta), signed=False)} matter; regressions that are none in at most "
                f"{design.alpha:.0%} of gates."
            ),
            "",
            f"**What is found** by a gate that has {SHOWN_BUDGET_S:.0f} s, and by the usual rules from one pair of runs.",
            "",
            *_slowdowns(of_design),
            "",
            "**What each part of the design buys**, both sides the same: the less noise, the smaller a slowdown is found.",
            "",
            *_designs([one for one in found if one.slowdown is None], design),
            "",
            f"**What more time buys**: identical sides, and {STATED:.0%} slower ones.",
            "",
            *_budgets([one for one in of_design if one.slowdown is None or one.slowdown.fraction == STATED]),
            "",
        ]
    )


def _of_own_design(one: Rates) -> bool:
    return one.slowdown is not None or one.name == IDENTICAL


def _slowdowns(found: Sequence[Rates]) -> Iterator[str]:
    yield (
        "| planted | pairs | seen | noise of a pair | regressions | 95 % bounds | resampled | inconclusive | pairs taken | "
        + (" | ".join(RULES) + " |")
    )
    yield "|---|" + "---|" * (8 + len(RULES))
    for one in found:
        reached, planted = one.within(SHOWN_BUDGET_S), "nothing" if one.slowdown is None else one.name
        by_rule = " | ".join(f"{share:.0%}" for share in one.by_rule.values())
        yield (
            f"| {planted} | {one.pairs} | {_change(one.mean)} | {_noise(one.sd)} | {reached.regressions} of {reached.gates} | "
            f"{reached.low:.0%} – {reached.high:.0%} | {reached.resampled:.1%} | {reached.inconclusive:.1%} | "
            f"{reached.pairs_taken:.1f} | {by_rule} |"
        )


def _designs(found: Sequence[Rates], design: Design) -> Iterator[str]:
    yield "| design | pairs | mean | noise of a pair | a pair takes | pairs for certainty | false regressions, resampled |"
    yield "|---|---|---|---|---|---|---|"
    for one in found:
        took = "–" if one.pair_s is None else f"{one.pair_s:.1f} s"
        yield (
            f"| {one.name} | {one.pairs} | {_change(one.mean)} | {_noise(one.sd)} | {took} | {_needed(one.sd, design)} | "
            f"{one.within(SHOWN_BUDGET_S).resampled:.1%} |"
        )


def _needed(sd: float | None, design: Design) -> str:
    """Pairs of such noise that find a slowdown of delta at the design's error rate and power, were they looked at once."""
    if sd is None:
        return "–"
    z = 2.326 + 1.645  # of 1 % and 95 %, one-sided; a t test takes two or three pairs more
    return str(max(2, math.ceil((z * sd / design.delta) ** 2)))


def _budgets(found: Sequence[Rates]) -> Iterator[str]:
    yield "| planted | " + " | ".join(f"{budget:.0f} s" for budget in BUDGETS_S) + " |"
    yield "|---|" + "---|" * len(BUDGETS_S)
    for one in found:
        planted = "nothing" if one.slowdown is None else one.name
        cells = [
            f"{reached.resampled:.1%} regression, {reached.inconclusive:.1%} inconclusive ({reached.most_pairs} pairs)"
            for reached in one.reached
        ]
        yield f"| {planted} | {' | '.join(cells)} |"


def _change(log_ratio: float | None) -> str:
    return "–" if log_ratio is None else percent(as_relative(log_ratio))


def _noise(sd: float | None) -> str:
    return "–" if sd is None else f"{100 * sd:.2f} %"


def to_json(observed: Sequence[Observed], found: Sequence[Rates], design: Design) -> str:
    """Everything, so that other rules can be tried on the same pairs."""
    whole = {"design": design, "rates": found, "observed": observed}
    return json.dumps(whole, default=asdict, indent=1) + "\n"


def require_plots() -> None:
    """Say at once, and not after half an hour of measuring, that a plot cannot be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot takes matplotlib: pip install 'vitbench[plot]'")


def plot(found: Sequence[Rates], design: Design) -> str:
    """Regressions found by size of the slowdown, the gate's with their 95 % bounds, beside the usual rules; as SVG.

    Raises:
        UsageError: matplotlib is not installed.
    """
    require_plots()
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.subplots()
    of_design = [one for one in found if _of_own_design(one)]
    for kind in KINDS:
        listed = [one for one in of_design if one.slowdown is None or one.slowdown.kind == kind]
        if all(one.slowdown is None for one in listed):
            continue
        rates = [one.within(SHOWN_BUDGET_S) for one in listed]
        errors = [
            [max(0.0, 100 * (one.resampled - one.low)) for one in rates],
            [max(0.0, 100 * (one.high - one.resampled)) for one in rates],
        ]
        name = {"busy": "the gate, a loop that waits", "work": "the gate, more work in one block"}[kind]
        axes.errorbar(
            _sizes(listed), [100 * one.resampled for one in rates], yerr=errors, marker="o", capsize=3, label=name
        )
    work = [one for one in of_design if one.slowdown is None or one.slowdown.kind == "work"]
    for rule in RULES:
        axes.plot(_sizes(work), [100 * one.by_rule[rule] for one in work], marker=".", linestyle="--", label=rule)
    axes.axvline(100 * as_relative(design.delta), color="0.7", linewidth=1)
    axes.set(
        xlabel="slowdown planted (%); line: from here on it matters",
        ylabel="called a regression (%)",
        ylim=(-3, 103),
        title=f"Found within {SHOWN_BUDGET_S:.0f} s; at 0 % every one is a false alarm",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    written = StringIO()
    FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    return written.getvalue()


def _sizes(found: Sequence[Rates]) -> list[float]:
    return [0.0 if one.slowdown is None else 100 * one.slowdown.fraction for one in found]
