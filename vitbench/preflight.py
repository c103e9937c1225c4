"""What must hold before any cell runs: the adapters named can be had, and the device is there.

To know that takes torch and foreign imports, so it happens in a process of its own; the parent stays light, and a
package that crashes when it is imported cannot take the run along.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitbench import errors
from vitbench.devices import require_device
from vitbench.environment import describe, source_of
from vitbench.errors import AdapterBroken, HarnessError, UsageError, VitbenchError
from vitbench.kernel_registry import attention_kernel, registered_kernels
from vitbench.options import TAKERS, Options
from vitbench.process import Child, how_it_ended, module_command
from vitbench.registry import registered, resolve

_TIME_LIMIT_S = 300.0


@dataclass(frozen=True)
class Preflight:
    """What was found."""

    environment: Mapping[str, Any]
    names: Mapping[str, str]  # what implementations named by --impl call themselves, as records have it
    notes: Sequence[str] = ()  # what whoever started the run should know


def check(options: Options) -> Preflight:
    """Look at adapters, device and environment.

    Raises:
        AdapterNotFound, AdapterBroken: of an implementation named by ``--impl``, or a kernel named by ``--kernel``.
        DeviceUnavailable: no such CUDA device.
        UsageError: two implementations of one name, or no images to train on.
        HarnessError: torch itself cannot be used.
    """
    return asked(question(options))


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be looked at."""

    named: Sequence[str]  # by --impl
    kernels: Sequence[str]
    device: str
    threads: int
    digits: bool = False  # whether scikit-learn's are trained on


def question(options: Options) -> Question:
    """What a run of these options needs."""
    named = options.implementations if options.named else ()
    digits = not options.data and any(suite in options.suites for suite in TAKERS["data"])
    return Question(named=named, kernels=options.kernels, device=options.device, threads=options.threads, digits=digits)


def asked(what: Question) -> Preflight:
    """Look on this machine, in a process apart.

    Raises:
        VitbenchError: as ``check``.
    """
    answer = _answer(what)
    if "refused" in answer:
        raise refusal(answer)
    return Preflight(**answer)


def refusal(answer: Mapping[str, Any]) -> VitbenchError:
    """The error that an answer holds, of its own class."""
    refused: VitbenchError = getattr(errors, answer["refused"])(answer["text"])
    return refused


def _answer(what: Question) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        file = Path(folder, "answer.json")
        child = Child(module_command("vitbench.preflight", json.dumps(asdict(what)), str(file)), threads=what.threads)
        exit_code = child.wait(_TIME_LIMIT_S)
        answer: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if answer is None:
        raise _died(child, exit_code, (*what.named, *what.kernels))
    return answer


def main(argv: Sequence[str] | None = None) -> int:
    """The child: answer in a file, since foreign imports print what they like."""
    text, file = sys.argv[1:] if argv is None else argv
    try:
        answer: Mapping[str, Any] = asdict(_look(**json.loads(text)))
    except VitbenchError as error:
        answer = {"refused": type(error).__name__, "text": str(error)}
    Path(file).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _look(
    *, named: Sequence[str], kernels: Sequence[str] = (), device: str, threads: int, digits: bool = False
) -> Preflight:
    if digits:
        from vitbench.datasets import require_digits  # noqa: PLC0415  # of the suites that train only

        require_digits()
    adapters = {impl: resolve(impl) for impl in named}
    names = {impl: str(getattr(adapter, "name", impl)) for impl, adapter in adapters.items()}
    for name in names.values():
        same = [impl for impl in named if names[impl] == name]
        if len(same) > 1:
            raise UsageError(
                f"--impl {' and '.join(same)} both call themselves {name!r}; give one adapter another name"
            )
    functions = {kernel: attention_kernel(kernel).function for kernel in kernels}
    require_device(device)
    sources = {names[impl]: source_of(one, users=impl not in registered()) for impl, one in adapters.items()}
    sources |= {name: source_of(one, users=name not in registered_kernels()) for name, one in functions.items()}
    candidates = {name: source for name, source in sources.items() if source}
    return Preflight(environment={**describe(device, threads), "candidates": candidates}, names=names)


def _died(child: Child, exit_code: int | None, named: Sequence[str]) -> VitbenchError:
    how = f"not ready after {_TIME_LIMIT_S:g} s" if exit_code is None else how_it_ended(exit_code)
    text = f"{how}; its last output: {child.last_words() or 'none'}"
    if named:
        return AdapterBroken(f"{', '.join(named)}: while importing, {text}")
    return HarnessError(f"torch cannot be used here: {text}; try python -c 'import torch'")


if __name__ == "__main__":
    sys.exit(main())
