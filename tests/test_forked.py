"""Questions to a forked process: what comes back, and what is said of one that hangs, crashes or leaves."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vitbench.errors import HarnessError
from vitbench.forked import AVAILABLE, Answer, Forked, NoAnswer, Tell

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="forks are made on Linux only")

Fork = Callable[[Answer], Forked]


@pytest.fixture
def fork() -> Iterator[Fork]:
    """Forks that are ended with the test."""
    forks: list[Forked] = []

    def make(answer: Answer) -> Forked:
        forks.append(Forked(answer))
        return forks[-1]

    yield make
    for one in forks:
        one.end()


def lost(forked: Forked, limit_s: float = 20.0) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught:
        forked.ask({}, limit_s=limit_s)
    return caught.value


def has_ended(pid: int) -> bool:
    """Within some seconds: the system takes its time to end what was killed."""
    stat, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + 10
    while time.monotonic() < deadline:
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_answers_come_from_another_process_which_remembers(fork: Fork) -> None:
    seen: list[Any] = []

    def answer(question: Any, tell: Tell) -> Any:
        seen.append(question)
        return [os.getpid(), seen]

    forked = fork(answer)
    assert forked.ask({"n": 1}, limit_s=20) == [forked.pid, [{"n": 1}]]
    assert forked.ask("größer\n", limit_s=20) == [forked.pid, [{"n": 1}, "größer\n"]]
    assert seen == []
    assert forked.pid != os.getpid()


def test_an_answer_may_be_of_any_size(fork: Fork) -> None:
    assert fork(lambda question, tell: "x" * question).ask(5_000_000, limit_s=20) == "x" * 5_000_000


def test_what_is_told_begins_the_time_limit_anew(fork: Fork) -> None:
    def answer(question: Any, tell: Tell) -> Any:
        for i in range(6):
            time.sleep(0.2)
            tell(i)
        return "done"

    forked = fork(answer)
    assert forked.ask({}, limit_s=0.9) == "done"
    assert 0.2 <= forked.longest_silence_s < 0.9


def hangs_in_python() -> None:
    while True:
        pass


def hangs_in_a_c_call() -> None:
    ctypes.CDLL(None).pause()


def waits_for_its_own_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def ignores_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
    hangs_in_python()


@pytest.mark.parametrize("hang", [hangs_in_python, hangs_in_a_c_call, waits_for_its_own_lock])
def test_what_hangs_is_ended_and_its_place_is_named(fork: Fork, hang: Callable[[], None]) -> None:
    def answer(question: Any, tell: Tell) -> Any:
        tell("began")
        hang()

    forked = fork(answer)
    pid, error = forked.pid, lost(forked, limit_s=0.5)
    assert str(error).startswith(f"did not end within 0.5 s in {hang.__name__}() (test_forked.py:")
    assert (error.told, error.hung) == (["began"], True)
    assert has_ended(pid)


def test_what_blocks_every_signal_is_ended_too(fork: Fork) -> None:
    forked = fork(lambda question, tell: ignores_signals())
    pid = forked.pid
    assert str(lost(forked, limit_s=0.3)) == "did not end within 0.3 s"
    assert has_ended(pid)


@pytest.mark.parametrize(
    ("leave", "text"),
    [
        (lambda: os._exit(0), "its process exited with code 0"),
        (lambda: os._exit(7), "its process exited with code 7"),
        (os.abort, "its process was killed by SIGABRT in <lambda>() (test_forked.py:"),
        (lambda: ctypes.string_at(0), "its process was killed by SIGSEGV in string_at() ("),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "its process was killed by SIGKILL (often the system's answer to a lack of memory)",
        ),
    ],
    ids=["exit 0", "exit 7", "abort", "segmentation fault", "kill"],
)
def test_how_a_process_ended_is_told(fork: Fork, leave: Callable[[], Any], text: str) -> None:
    error = lost(fork(lambda question, tell: leave()))
    assert str(error).startswith(text)
    assert not error.hung


def test_what_it_started_is_ended_with_it(fork: Fork) -> None:
    def answer(question: Any, tell: Tell) -> Any:
        tell(subprocess.Popen(["sleep", "60"]).pid)
        hangs_in_python()

    (grandchild,) = lost(fork(answer), limit_s=0.5).told
    assert has_ended(grandchild)


def test_its_end_is_seen_although_what_it_started_holds_the_connection(fork: Fork) -> None:
    def answer(question: Any, tell: Tell) -> Any:
        if os.fork():
            os._exit(5)
        time.sleep(60)

    assert str(lost(fork(answer))) == "its process exited with code 5"


def test_a_fork_that_comes_back_from_within_an_answer_says_nothing(fork: Fork) -> None:
    def answer(question: Any, tell: Tell) -> Any:
        me = os.getpid()
        os.fork()
        return os.getpid() == me

    forked = fork(answer)
    assert [forked.ask({}, limit_s=20) for _ in range(3)] == [True] * 3


def test_a_connection_that_is_closed_or_written_to_is_given_up(fork: Fork) -> None:
    assert "its process exited with code 0" in str(lost(fork(lambda q, t: os.closerange(3, 256))))

    def answer(question: Any, tell: Tell) -> Any:
        for descriptor in range(3, 256):
            try:
                os.write(descriptor, b"hello\n")
            except OSError:
                continue

    assert str(lost(fork(answer))) == "wrote into vitbench's own connection"


def test_an_error_of_the_harness_is_raised_where_the_question_was_asked(fork: Fork) -> None:
    with pytest.raises(HarnessError, match="the process that judges raised KeyError: 'item'"):
        fork(lambda question, tell: question["item"]).ask({}, limit_s=20)


def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal, time
        from vitbench.forked import Forked
        forked = Forked(lambda question, tell: time.sleep(60))
        print(forked.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert has_ended(int(ran.stdout))


def test_an_ended_fork_can_be_ended_again(fork: Fork) -> None:
    forked = fork(lambda question, tell: question)
    forked.end()
    forked.end()
    assert forked.pid == 0
