"""A process forked off to answer questions, so that whatever ends or hangs there costs one answer, and is told.

The fork begins as a copy of this process, modules imported and all, in some ten milliseconds. On Linux only: elsewhere
libraries that are loaded by then may not survive a fork.
"""

import faulthandler
import json
import os
import re
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from vitbench.errors import HarnessError
from vitbench.process import die_with_parent, how_it_ended

AVAILABLE = sys.platform == "linux" and hasattr(os, "fork")

Tell = Callable[[Any], None]
Answer = Callable[[Any, Tell], Any]
"""Gets a question and a function that tells the asker how far it is; both, and what it returns, are plain JSON."""

_LOOK_S = 0.2  # how often to see whether the process is still there
_ABORT_S = 1.0  # between the request to say where it is and the end
_FRAME = re.compile(r'^\s*File "(.+)", line (\d+) in (\S+)', re.MULTILINE)


class NoAnswer(Exception):
    """The forked process ended, or its time was up; the text says how, and where it was if that is known."""

    def __init__(self, text: str, told: Sequence[Any], *, hung: bool = False) -> None:
        super().__init__(text)
        self.told = told  # before
        self.hung = hung


class Forked:
    """A forked process in a session of its own, ended together with whatever it has started."""

    def __init__(self, answer: Answer) -> None:
        here, there = socket.socketpair()
        self._crash = os.memfd_create("vitbench-crash")
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, which a fork does without
            self.pid = os.fork()
        if not self.pid:
            here.close()
            _serve(there, answer, self._crash, parent)
        there.close()
        self._socket, self._unread = here, b""
        self._status: int | None = None  # as the system has it; None: not known to have ended
        self._socket.settimeout(_LOOK_S)
        self._told: list[Any] = []  # while the latest question was being answered
        self.longest_silence_s = 0.0  # during that time

    def ask(self, question: Any, *, limit_s: float) -> Any:
        """The answer. ``limit_s`` is the longest silence: each thing told while it is sought begins it anew.

        Raises:
            HarnessError: seeking the answer raised.
            NoAnswer: the process is no more; another one has to be forked for the next question.
        """
        self._told, self.longest_silence_s = [], 0.0
        try:
            with suppress(OSError):  # it ended since the last question: the answer's absence tells
                self._socket.sendall(_line(question))
            while True:
                kind, content = self._next(limit_s)
                if kind == "answer":
                    return content
                if kind == "raised":
                    raise HarnessError(f"the process that judges raised {content}")  # noqa: TRY301  # ended here too
                self._told.append(content)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill it and what it has started, if anything is left of them."""
        if not self.pid:
            return
        if self._exit_code() is None:
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._status is None:
            os.waitpid(self.pid, 0)
        self.pid = 0
        self._socket.close()
        os.close(self._crash)

    def _next(self, limit_s: float) -> tuple[str, Any]:
        silent_since = time.monotonic()
        while b"\n" not in self._unread:
            try:
                received = self._socket.recv(1 << 20)
            except TimeoutError:
                received = None
            except OSError:
                received = b""
            if received:
                self._unread += received
            elif received == b"" or self._exit_code() is not None:
                raise NoAnswer(self._how_it_ended(), self._told)
            elif time.monotonic() - silent_since > limit_s:
                text = f"did not end within {limit_s:.3g} s{self._where_it_hangs()}"
                raise NoAnswer(text, self._told, hung=True)
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            kind, content = json.loads(line)
        except ValueError as error:
            raise NoAnswer("wrote into vitbench's own connection", self._told) from error
        self.longest_silence_s = max(self.longest_silence_s, time.monotonic() - silent_since)
        return kind, content

    def _exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def _how_it_ended(self) -> str:
        code = self._awaited()
        how = "closed its connections" if code is None else how_it_ended(code).removesuffix(" without a result")
        return how + self._where()

    def _where_it_hangs(self) -> str:
        """Python's own crash report tells it, even from within a call that never returns."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGABRT)
        self._awaited()
        return self._where()

    def _awaited(self) -> int | None:
        deadline = time.monotonic() + _ABORT_S
        while (code := self._exit_code()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return code

    def _where(self) -> str:
        report = os.pread(self._crash, 1 << 16, 0).decode(errors="replace")
        frame = _FRAME.search(report)
        return f" in {frame[3]}() ({Path(frame[1]).name}:{frame[2]})" if frame else ""


def _serve(connection: socket.socket, answer: Answer, crash: int, parent: int) -> NoReturn:
    """The life of the fork; it never returns to what its parent was doing."""
    try:
        os.setsid()
        _die_with(parent)
        _prepare(crash)
        me = os.getpid()

        def send(kind: str, content: Any) -> None:
            if os.getpid() != me:  # a fork of the fork, which has come back
                os._exit(0)
            connection.sendall(_line([kind, content]))

        for line in connection.makefile("rb"):
            try:
                found = "answer", answer(json.loads(line), lambda news: send("told", news))
            except BaseException as error:  # noqa: BLE001  # the parent raises it
                found = "raised", f"{type(error).__name__}: {error}"
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            send(*found)
    finally:
        os._exit(0)


def _prepare(crash: int) -> None:
    """Say where it died, leave no core file, and be what the system ends first where memory is short."""
    faulthandler.enable(crash, all_threads=False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _die_with(parent: int) -> None:
    """End with the parent; with one that has ended meanwhile, at once."""
    die_with_parent()
    if os.getppid() != parent:
        os._exit(0)


def _line(content: Any) -> bytes:
    return json.dumps(content, default=str).encode() + b"\n"
