"""What a run is asked to do: its command line as one typed value, each mistake as one line."""

import argparse
import importlib.util
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitbench import arguments, engine_options, kernel_registry, registry, suite
from vitbench.arithmetic import ARITHMETICS
from vitbench.errors import UsageError
from vitbench.parser import Parser

PRESETS = ("quick", "standard", "full")
TASKS = ("inference", "training")
CHANNELS_LAST = "channels-last"
COMPILED = {
    "compile": None,
    "compile-reduce-overhead": "reduce-overhead",
    "compile-max-autotune": "max-autotune",
}
"""Modes by name, with what ``torch.compile`` calls them."""
MODES = ("eager", CHANNELS_LAST, *COMPILED)
_STUDIED = "reference"
DEFAULT_SUITES = ("conformance", "limits", "throughput")
_OF_KERNELS = "attention"  # the suite that takes --kernel
_SEARCHED = "throughput"  # the suite that takes --find-batch
TAKERS = {
    "model": ("throughput", "memory", _OF_KERNELS, "scaling"),
    "batch": ("throughput", "memory", _OF_KERNELS, "scaling"),
    "task": ("throughput", "memory"),
    "dtype": ("throughput", "memory", _OF_KERNELS, "scaling"),
    "mode": ("throughput",),
    "data": ("paper/transfer", "paper/data_scaling"),
}
"""The suites that each option is for."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run, as asked for."""

    implementations: tuple[str, ...]
    named: bool  # by --impl; else all that are installed, of which a broken one shall not stop the others
    suites: tuple[str, ...] = DEFAULT_SUITES
    preset: str = "quick"
    device: str = "cpu"  # or cuda:N
    models: tuple[str, ...] = ()  # empty: those of the preset
    batches: tuple[int, ...] = ()  # empty: those of the preset
    tasks: tuple[str, ...] = ()  # empty: those of the preset
    dtypes: tuple[str, ...] = ()  # arithmetics by name; empty: those of the preset
    modes: tuple[str, ...] = ()  # empty: those of the preset
    kernels: tuple[str, ...] = ()  # for the attention suite; empty: those of the preset
    threads: int = 1
    find_batch: bool = False  # search for the best batch instead of measuring those listed
    seed: int = 0
    time_limit_s: float | None = None  # of a cell; None: that of its suite and preset
    max_seconds: float | None = None  # of the whole run; None: until every cell has run
    output: Path | None = None  # None: a new folder of its own
    fresh: bool = False  # begin anew in a folder that holds a run
    dry_run: bool = False
    data: str = ""  # folder of images for the suites that train; empty: those that come with them
    profile: bool = False  # keep a trace of each cell that can be profiled
    baseline: str | None = None  # a stored run, or the name of a saved baseline, to hold the run to
    save_baseline: str | None = None  # the name to save it under
    engine: str = engine_options.LOCAL
    ray_address: str | None = None  # HOST:PORT of a cluster that runs; None: one of this machine alone, for this run
    unlike_nodes: bool = False  # time cells on nodes that are not alike

    @property
    def studied(self) -> tuple[str, ...]:
        """For the suites of the paper: those that are named, or the reference alone. It is the architecture they study."""
        return self.implementations if self.named else (_STUDIED,)


def parse(argv: Sequence[str] | None) -> Options:
    """The options of a command line.

    Raises:
        UsageError: an option that cannot be; the text says what was got and what is expected.
        AdapterNotFound: ``--impl`` names nothing; what is there, but broken, shows only when it is imported.
    """
    given = _parser().parse_args(argv)
    for name in given.impl:
        require_present(name)
    for name in given.kernel:
        if kernel_registry.plainly_missing(name):
            kernel_registry.attention_kernel(name)
    if given.find_batch:
        _require_nothing_beside_a_search(given)
    given.suite = suite.expanded(given.suite)
    suites = given.suite or ([_OF_KERNELS] if given.kernel else [_SEARCHED] if given.find_batch else DEFAULT_SUITES)
    if given.kernel and _OF_KERNELS not in suites:
        raise UsageError(f"--kernel is for the suite {_OF_KERNELS}; add --suite {_OF_KERNELS}, or leave --suite out")
    if given.profile and not any(suite.load(name).traces for name in suites):
        profiled = " and ".join(name for name in suite.names() if suite.load(name).traces)
        raise UsageError(f"--profile is for the suite {profiled}; add --suite {profiled}")
    _require_taken(given, suites)
    engine_options.require_consistent(given)
    return Options(
        implementations=tuple(dict.fromkeys(given.impl or registry.installed())),
        named=bool(given.impl),
        suites=tuple(dict.fromkeys(suites)),
        preset=given.preset,
        device="cpu" if given.gpu is None else f"cuda:{given.gpu}",
        **axes_of(given),
        kernels=tuple(dict.fromkeys(given.kernel)),
        find_batch=given.find_batch,
        threads=given.threads,
        seed=given.seed,
        time_limit_s=given.time_limit,
        max_seconds=given.max_seconds,
        output=given.output,
        fresh=given.fresh,
        dry_run=given.dry_run,
        data="" if given.data is None else _data_folder(given.data),
        profile=given.profile,
        baseline=given.baseline,
        save_baseline=given.save_baseline,
        engine=given.engine,
        ray_address=given.ray_address,
        unlike_nodes=given.unlike_nodes,
    )


def _data_folder(folder: Path) -> str:
    """The folder, which must have the files that are read later.

    Raises:
        DataUnusable: it has not; the text says which.
    """
    from vitbench.idx import FILES, idx_file  # noqa: PLC0415  # numpy, which nothing else here needs

    for part in FILES:
        idx_file(folder, part)
    return str(folder.resolve())


def axes_of(given: argparse.Namespace) -> dict[str, Any]:
    """What ``add_axes`` was given, each value once, as fields of the options."""
    fields = {"models": "model", "batches": "batch", "tasks": "task", "dtypes": "dtype", "modes": "mode"}
    return {field: tuple(dict.fromkeys(getattr(given, option))) for field, option in fields.items()}


def _require_taken(given: argparse.Namespace, suites: Sequence[str]) -> None:
    """An option that none of the suites looks at would be obeyed by nothing, without a word."""
    for option, takers in TAKERS.items():
        if getattr(given, option) and not set(takers) & set(suites):
            raise UsageError(
                f"--{option} is for {' and '.join(takers)}, and this run has {' and '.join(suites)} alone; "
                f"add --suite {takers[0]}, or leave --{option} out"
            )


def _require_nothing_beside_a_search(given: argparse.Namespace) -> None:
    """A search chooses the batches itself, and is of one suite."""
    if given.batch:
        raise UsageError("--find-batch tries batches of its own, and --batch asks for some; give one of the two")
    if given.kernel or set(given.suite) - {_SEARCHED}:
        raise UsageError(f"--find-batch is a mode of the suite {_SEARCHED} alone; leave --suite and --kernel out")
    if given.profile:
        raise UsageError("--find-batch profiles nothing; profile the batch that it finds with --batch N --profile")


def require_present(impl: str) -> None:
    """Let the registry speak if ``impl`` is plainly not there; foreign code is not imported here."""
    registration = registry.registered().get(impl)
    location = impl.partition(":")[0]
    if registration is not None:
        missing = not registration.installed
    elif location.endswith(".py"):
        missing = not Path(location).is_file()
    else:
        missing = not _importable(location.partition(".")[0])
    if missing:
        registry.resolve(impl)


def _importable(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # an empty name
        return False


def _parser() -> Parser:
    parser = Parser(
        prog="vitbench run",
        description="Judge and measure Vision Transformers: every suite on every implementation,\neach cell in a "
        "process of its own. Writes results.jsonl and report.html, and\nprints a summary. The same as python -m vitbench.run.",
        epilog=_EPILOG.format(
            suites="\n".join([*map(_suite_lines, suite.names()), *map(_group_lines, suite.groups())])
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(parser)
    _add_how(parser)
    return parser


def _suite_lines(name: str) -> str:
    return textwrap.fill(f"{name:<12} {suite.load(name).summary}", 79, initial_indent="  ", subsequent_indent=" " * 15)


def _group_lines(name: str) -> str:
    return f"  {name:<12} every suite {name}/…"


_EPILOG = """suites:
{suites}

examples:
  vitbench run
      everything installed, on the CPU, in about three minutes
  vitbench run --impl timm --impl torchvision
      two implementations
  vitbench run --impl my/adapter.py
      your own model behind an adapter (docs/adapters.md)
  vitbench run --gpu 0 --preset standard
      on the first CUDA device
  vitbench run --suite throughput --model S/16@224,num_heads=4 --batch 1
      one model, one of its choices changed, one batch
  vitbench run --find-batch --impl timm
      the batch of the highest throughput
  vitbench run --kernel flash --kernel naive
      attention kernels on a ViT's shapes; your own is kernel.py:function
  vitbench run --output mine
      begins a run there; after it was stopped, goes on with it
  vitbench run --suite throughput --profile
      where the time goes: traces for TensorBoard, tables in the report
  vitbench run --impl timm --save-baseline main
      what it found, kept to hold later runs to
  vitbench run --impl timm --baseline main
      worse than what was kept?
  vitbench run --dry-run
      what would run

exit codes:
  0    every cell ran to a verdict, a figure or a recorded reason, whatever
       these say: this command reports, pytest judges; with --baseline, that of
       vitbench gate (1 regression, 3 inconclusive, 4 no baseline or another
       machine's, 5 nothing measured, 6 correctness failed)
  2    an option cannot be used; nothing ran
  3    vitbench itself is at fault
  4    what --impl or --kernel names is missing or broken, and nothing ran; or
       every adapter turned out broken
  69   the cluster of --engine ray is gone; what there was is kept
  74   the disk is full or gone; what there was is kept
  130  interrupted; what there was is kept, and the same command with its
       --output goes on
"""


def _add_what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to run")
    what.add_argument(
        "--impl",
        action="append",
        default=[],
        metavar="NAME",
        help=f"implementation, repeatable: {', '.join(registry.registered())}, package.module:object, a package with "
        "vitbench_adapter, or adapter.py (default: all that are installed)",
    )
    what.add_argument(
        "--suite",
        action="append",
        default=[],
        choices=[*suite.names(), *suite.groups()],
        metavar="SUITE",
        help=f"suite, as below, repeatable (default: {', '.join(DEFAULT_SUITES)})",
    )
    what.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="NAME",
        help=f"attention kernel to measure, repeatable: {', '.join(kernel_registry.registered_kernels())}, "
        f"package.module:function or kernel.py:function (for the suite {_OF_KERNELS}, which it chooses; default: those "
        "of the preset)",
    )
    what.add_argument(
        "--preset",
        choices=PRESETS,
        default="quick",
        help="how much: quick (minutes), standard (an hour or less), full (hours) (default: quick)",
    )
    add_axes(what.add_argument)
    what.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="images to train on, as IDX files named as MNIST's, compressed or not (Debian: "
        "dataset-fashion-mnist, /usr/share/datasets/fashion-mnist), for the suites paper/transfer and "
        "paper/data_scaling (default: scikit-learn's digits)",
    )
    what.add_argument(
        "--find-batch",
        action="store_true",
        help=f"search for the batch of the highest throughput and the largest that fits, in place of --batch: batches "
        f"double until memory runs out (on the CPU: until throughput no longer rises, or memory would not suffice), "
        f"each in a process of its own (suite {_SEARCHED})",
    )
    what.add_argument(
        "--seed",
        type=arguments.seed,
        default=0,
        metavar="N",
        help="of weights, images and examples (default: 0)",
    )


def add_axes(add: Callable[..., Any]) -> None:
    """The options that take the place of what a preset lists; ``add`` is argparse's, or pytest's of the same kind."""
    add(
        "--model",
        action="append",
        default=[],
        type=arguments.model,
        metavar="VARIANT",
        help="model to measure, repeatable: Ti/16@64, B/16@224, or with overrides S/16@224,num_heads=4,depth=6 "
        "(default: those of the preset; conformance draws its own)",
    )
    add(
        "--batch",
        action="append",
        default=[],
        type=arguments.named("batch", arguments.at_least(1)),
        metavar="N",
        help="images per forward pass, of each worker in the suite scaling, repeatable (default: those of the preset)",
    )
    for option, choices, meaning, suites in (
        ("--task", TASKS, "what to do with a model", "suites throughput and memory"),
        ("--dtype", tuple(ARITHMETICS), "in which arithmetic", "suites throughput, memory, attention and scaling"),
        ("--mode", MODES, "how to run it", "suite throughput"),
    ):
        add(
            option,
            action="append",
            default=[],
            choices=choices,
            metavar=option.strip("-").upper(),
            help=f"{meaning}, repeatable: {', '.join(choices)} (for the {suites}; default: those of the preset)",
        )


def add_threads(add: Callable[..., Any]) -> None:
    """How many threads of the processor a cell may use."""
    add(
        "--threads",
        type=arguments.threads,
        default=1,
        metavar="N",
        help="CPU threads of a cell, no more than it may use cores (default: 1: on cores that others use too, one "
        "thread is the fastest and the steadiest, several wait for the slowest among them)",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("where and how")
    how.add_argument(
        "--gpu",
        type=arguments.named("gpu", arguments.at_least(0)),
        metavar="N",
        help="CUDA device N (default: the CPU)",
    )
    add_threads(how.add_argument)
    engine_options.add(how.add_argument)
    how.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder for results.jsonl and report.html (default: vitbench-results/<time>). If it holds a run that was "
        "stopped, this one goes on with it: cells that have a result are not run again. Command, machine and packages "
        "must be the same",
    )
    how.add_argument(
        "--fresh",
        action="store_true",
        help="begin anew in a folder that holds a run; its results are kept there under another name",
    )
    how.add_argument(
        "--time-limit",
        type=arguments.seconds,
        metavar="SECONDS",
        help="end a cell that has no result by then, and record that (default: by suite and preset)",
    )
    how.add_argument(
        "--profile",
        action="store_true",
        help="after a cell of the suite throughput was timed, profile three more iterations: a trace for TensorBoard in "
        "DIR/traces, and its operators, kernels, modules and memory in the report (for these tables: "
        "pip install 'vitbench[tensorboard]')",
    )
    how.add_argument(
        "--max-seconds",
        type=arguments.seconds,
        metavar="SECONDS",
        help="run what fits into that time, the cells that show the most first, and list the rest as not run; with "
        "--output the same command goes on with them",
    )
    how.add_argument(
        "--baseline",
        metavar="RUN",
        help="hold the run to a stored one: the folder of a run, its results file, or the name of a saved baseline. "
        "The exit code is then that of vitbench gate (docs/gating.md)",
    )
    how.add_argument(
        "--save-baseline",
        type=arguments.baseline_name,
        metavar="NAME",
        help="save what the run found in vitbench-baselines/NAME; more runs of the same code add their times, and three "
        "tell how much runs differ here. With --baseline too, a run that is worse is not saved",
    )
    how.add_argument("--dry-run", action="store_true", help="print the cells and stop")
