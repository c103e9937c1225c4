"""The child process that speaks to Ray, as its parent has it: commands go in, answers and events come out."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vitbench.errors import ClusterLost
from vitbench.preflight import refusal
from vitbench.process import Child, how_it_ended, module_command
from vitbench.wording import abridged

_POLL_S = 0.05
_STOP_LIMIT_S = 20.0  # for ending what runs on the nodes, and the cluster if it is this run's own
_LONGEST = 200  # of what Ray says last, which goes on about its log files


class Silent(Exception):
    """No answer came in time."""


class Driver:
    """Started where its context begins, gone where it ends, and what it runs on the nodes with it."""

    def __init__(self, folder: Path) -> None:
        self._answers = folder / "answers.jsonl"
        self._child: Child | None = None
        self._position = 0

    def __enter__(self) -> Self:
        self._child = Child(module_command("vitbench.engines.ray_driver", str(self._answers)), listens=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def _process(self) -> Child:
        assert self._child is not None  # noqa: S101  # within its context only
        return self._child

    def tell(self, command: Mapping[str, Any]) -> None:
        """Have something done; ``new`` has the answer."""
        self._process.tell(json.dumps(command) + "\n")

    def ask(self, command: Mapping[str, Any], limit_s: float) -> Any:
        """The answer to a command.

        Raises:
            Silent: there is none yet.
            VitbenchError: the answer is a refusal, or the process has ended.
        """
        self.tell(command)
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            for words in self.new():
                if "answer" in words:
                    return unless_refused(words["answer"])
        raise Silent

    def new(self) -> list[dict[str, Any]]:
        """What it has said since the last call; waits a moment where that is nothing.

        Raises:
            ClusterLost: it has ended, and says nothing more.
        """
        ended = self._process.exit_code()
        words = self._unread()  # after the look at the exit code, so that nothing is missed
        if not words and ended is not None:
            said = abridged(self._process.last_words(), _LONGEST)
            raise ClusterLost(f"the Ray cluster, or its head, was lost; Ray said: {said or how_it_ended(ended)}")
        if not words:
            time.sleep(_POLL_S)
        return words

    def _unread(self) -> list[dict[str, Any]]:
        if not self._answers.exists():
            return []
        with self._answers.open("rb") as file:
            file.seek(self._position)
            written = file.read()
        whole = written[: written.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def give_up(self) -> None:
        """End it at once: it listens no more, and has begun nothing."""
        self._process.end()

    def stop(self) -> None:
        """End it, after it has ended what it runs."""
        child = self._process
        deadline_s = time.monotonic() + _STOP_LIMIT_S
        if child.exit_code() is None:
            child.tell("stop\n")
        while child.exit_code() is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        child.end()


def unless_refused(answer: Any) -> Any:
    """The answer.

    Raises:
        VitbenchError: it says why there is none.
    """
    if isinstance(answer, dict) and "refused" in answer:
        raise refusal(answer)
    return answer
