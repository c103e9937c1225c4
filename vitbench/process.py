"""A child process that cannot flood, outlive or hang its parent."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_KEPT_BYTES = 16 * 1024  # of its output, the last
_MARK, _numbers = "VITBENCH_CHILD", itertools.count()
_MOMENT_S = 0.5
_SHOWN_LINES = 4
_SHOWN_CHARACTERS = 400
_NOISE = ("Extension modules:", "Current thread ", "Thread ")  # in the crash reports of Python's faulthandler


def age_s() -> float | None:
    """How long ago this process was started, to the hundredth of a second; None where the system does not tell (man 5 proc)."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        behind_name = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
        started = int(behind_name.split()[_START_TIME]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    return None


_START_TIME = 19  # field 22, in clock ticks since boot, where the third is the first behind the name


def die_with_parent() -> None:
    """Let the kernel end this process together with its parent, however that ends; on Linux (man 2 prctl)."""
    import ctypes  # noqa: PLC0415  # of child processes only

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_PR_SET_PDEATHSIG = 1


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, or a terminal that is closed, end a command as Ctrl-C does: what there is kept, no process left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [one for one in _ENDINGS if signal.getsignal(one) is not signal.SIG_IGN]  # nohup has it ignored
    before = {one: signal.signal(one, signal.default_int_handler) for one in heard}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


_ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Child:
    """A command in a session of its own, so that it and whatever it starts can be ended together.

    Its output is read as it comes, and only the end of it is kept. What it starts inherits a mark in its environment, by
    which it is found even in another session.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        threads: int = 1,
        listens: bool = False,
        keeps: Sequence[int] = (),
        path: Sequence[Path] = (),
        folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """``listens``: to ``tell``. ``keeps``: descriptors. ``path``: where its Python looks first. ``folder``: to run in.

        ``settings``: variables of its environment.
        """
        self._started = time.monotonic()
        self._mark = f"{_MARK}={os.getpid()}.{next(_numbers)}"
        self.left_behind = 0  # processes that it had started and that went on after its end, until they were ended
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments, no shell
            command,
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(threads, self._mark, path) | dict(settings or {}),
            start_new_session=True,
            pass_fds=keeps,
            cwd=folder,
        )
        self._output, self._ended = b"", False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def elapsed_s(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started

    @property
    def pid(self) -> int:
        """Its number, which is its group's too."""
        return self._process.pid

    def tell(self, text: str) -> None:
        """Write to its standard input; one that has ended hears nothing, which its exit code tells."""
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101  # it was asked for
        with suppress(BrokenPipeError):
            pipe.write(text.encode())
            pipe.flush()

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def end(self) -> None:
        """Kill it and what it has started, if anything is left of them."""
        if self._ended:
            return
        self._ended = True
        if self.exit_code() is not None:
            self.left_behind = len(_after_a_moment(self._mark))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pid in marked(self._mark):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self, time_limit_s: float) -> int | None:
        """Its exit code; None if it had to be ended because its time was up."""
        try:
            return self._process.wait(max(0.0, time_limit_s - self.elapsed_s))
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.end()

    def last_words(self) -> str:
        """The end of its output on one line: a crash report from its start, else the last lines; empty without any."""
        self._reader.join(1.0)  # not for ever: something it started may hold the pipe
        lines = [line.strip() for line in self._output.decode(errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(_NOISE)]
        crash = next((i for i, line in enumerate(told) if line.startswith("Fatal Python error")), None)
        shown = told[-_SHOWN_LINES:] if crash is None else told[crash : crash + _SHOWN_LINES]
        return " | ".join(shown)[-_SHOWN_CHARACTERS:]

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101  # it was asked for
        with pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._output = (self._output + chunk)[-_KEPT_BYTES:]


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules in this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def how_it_ended(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code >= 0:
        return f"its process exited with code {exit_code} without a result"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (often the system's answer to a lack of memory)" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


def marked(mark: str) -> list[int]:
    """Processes whose environment began with this mark in it; none where the system shows no environments (man 5 proc)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _after_a_moment(mark: str) -> list[int]:
    """Those that go on; helpers that end once they notice need a moment for it."""
    deadline = time.monotonic() + _MOMENT_S
    while (going_on := marked(mark)) and time.monotonic() < deadline:
        time.sleep(_MOMENT_S / 10)
    return going_on


def _environment(threads: int, mark: str, path: Sequence[Path]) -> dict[str, str]:
    """The parent's, with threads limited from the start: some libraries read these only when they are loaded."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    name, _, number = mark.partition("=")
    inherited = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    first = {"PYTHONPATH": os.pathsep.join([*map(str, path), *inherited])} if path else {}
    return {**os.environ, **limits, **first, "PYTHONUNBUFFERED": "1", name: number}
