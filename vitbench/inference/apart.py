"""Inference in a process of its own: a constructor that hangs, crashes, downloads or fills the memory ends that alone."""

import importlib.metadata
import importlib.util
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from vitbench.adapter import Adapter
from vitbench.errors import NotInferred, one_line
from vitbench.forked import AVAILABLE, Forked, NoAnswer, Tell
from vitbench.inference.inferring import Inferred, infer
from vitbench.inference.refusal import ReachesOut, Understanding, refusal
from vitbench.inference.sketch import Construction, Sketch, Source
from vitbench.inference.workshop import loaded

STEP_LIMIT_S = 30.0
"""Of one step, such as building the class once at one size, which takes milliseconds."""

_WHOLE_LIMIT_S = 180.0
_MEMORY_BYTES = 4 * 2**30  # beyond what the process has at its start; the models built have some thousand parameters


def is_inferable(found: Any) -> bool:
    """Whether this is a torch class, or a function that may make one, and no adapter."""
    if isinstance(found, type) and issubclass(
        found, nn.Module
    ):  # it may have a build() of its own, for its layers, say
        return not all(callable(getattr(found, method, None)) for method in ("build", "load"))
    if isinstance(found, type) or callable(getattr(found, "build", None)):
        return False
    return callable(found) and not isinstance(found, nn.Module)


def inferred(found: Any, source: Source, *, step_limit_s: float = STEP_LIMIT_S) -> Inferred:
    """The adapter of a class or factory, as code.

    Raises:
        NotInferred: what was understood of it, and what was not.
    """
    with tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        if not AVAILABLE:
            answer = _answer(found, source, Path(folder), lambda _news: None)
        else:
            answer = _asked(found, source, Path(folder), step_limit_s)
    if "refused" in answer:
        raise NotInferred(answer["refused"])
    return Inferred(code=answer["code"], name=answer["name"], assumed=tuple(answer["assumed"]))


def adapter_of(inference: Inferred) -> Adapter:
    """The adapter that the code is; ``inferred`` on it is what its verdict rests on."""
    with tempfile.TemporaryDirectory(prefix="vitbench-") as folder:
        path = Path(folder, "inferred_adapter.py")
        path.write_text(inference.code, encoding="utf-8")
        adapter = loaded(path, "vitbench_inferred_adapter", inference.name)
    adapter.inferred = inference.assumed
    return adapter


def source_of(impl: str, module: str, attribute: str) -> Source:
    """Where a class comes from, with what pip calls its package, if it is an installed one."""
    top = module.split(".", maxsplit=1)[0]
    return Source(impl=impl, module=module, attribute=attribute, distribution=_distribution(top))


def _distribution(top: str) -> str:
    """What pip calls the package of a module; empty where no package has installed it."""
    for name in (top, top.replace("_", "-")):  # as most do; to look through all that is installed takes seconds
        with suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            return name
    found = importlib.util.find_spec(top)
    if found is None or not {"site-packages", "dist-packages"} & set(Path(found.origin or "").parts):
        return ""
    return next(iter(importlib.metadata.packages_distributions().get(top, [])), "")


def _asked(found: Any, source: Source, folder: Path, step_limit_s: float) -> dict[str, Any]:
    fork = Forked(lambda _question, tell: _within_limits(source, lambda: _answer(found, source, folder, tell)))
    try:
        answer: dict[str, Any] = fork.ask("infer", limit_s=step_limit_s)
    except NoAnswer as lost:
        step = f" while {lost.told[-1]}" if lost.told else ""
        how = str(lost) if str(lost).startswith("its process") else f"its process {lost}"
        return {"refused": _refused(source, f"{how}{step}")}
    finally:
        fork.end()
    return answer


def _answer(found: Any, source: Source, folder: Path, tell: Tell) -> dict[str, Any]:
    """What was inferred, or why nothing was, in words that another process understands."""
    try:
        result = infer(found, source, folder, _impatient(tell))
    except NotInferred as error:
        return {"refused": str(error)}
    except (Exception, ReachesOut, SystemExit) as error:  # noqa: BLE001  # whatever foreign code raises
        return {"refused": _refused(source, f"{type(error).__name__}: {one_line(error)}")}
    return {"code": result.code, "name": result.name, "assumed": result.assumed}


def _impatient(tell: Tell) -> Callable[[str], None]:
    """Tells each step, and gives up where they take too long together."""
    begun = time.monotonic()

    def told(step: str) -> None:
        if time.monotonic() - begun > _WHOLE_LIMIT_S:
            raise TimeoutError(f"not understood after {_WHOLE_LIMIT_S:g} s; the next step was {step}")
        tell(step)

    return told


def _refused(source: Source, error: str) -> str:
    return refusal(Understanding(sketch=Sketch(source=source, construction=Construction(arguments={})), error=error))


# --- in the process of its own ---


def _within_limits(source: Source, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    torch.set_num_threads(1)  # the threads of the process that was forked are not here
    reached = _forbid_connections()
    _limit_memory()
    answer = run()
    if reached and "refused" not in answer:  # a bare ``except:`` swallowed it
        return {"refused": _refused(source, reached[0])}
    return answer


def _forbid_connections() -> list[str]:
    """Refuse each from now on; what is returned gets a line about each that was tried."""
    reached: list[str] = []

    def refuse(*arguments: Any, **_named: Any) -> NoReturn:
        where = next((str(one) for one in arguments if isinstance(one, str | tuple)), "somewhere")
        reached.append(f"it opens a connection, to {where}; is there an argument that keeps it from that?")
        raise ReachesOut(reached[-1])

    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        setattr(socket, name, refuse)
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            original(self, address)
        else:
            refuse(address)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    return reached


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + _MEMORY_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
