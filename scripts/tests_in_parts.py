"""Run the tests in several pytest processes at once, each with a share of the files, and tell all of it in the end.

    python scripts/tests_in_parts.py tests -rs

What is not understood here is for pytest. Each share's output is shown whole, once it is over. The exit code is 0 where all
shares passed. pytest-xdist is not for these tests: they fork, end and interrupt processes and run pytest within pytest, and the
channel on which its workers answer did not survive that.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from vitbench.environment import usable_cores

NOTHING_SELECTED = 5  # pytest's exit code
_FILES = 10  # a share's; each share imports torch anew, and the last one to end is waited for
_COUNT = re.compile(r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?)\b")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of all shares together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the tests")
    parser.add_argument("--at-once", type=int, default=min(usable_cores(), 4), help="processes")
    options, for_pytest = parser.parse_known_args(argv)
    start, counts, wrong, codes = time.monotonic(), Counter[str](), list[str](), set[int]()
    for code, output in in_parts(shares(options.folder), for_pytest, options.at_once):
        print(output, flush=True)
        codes.add(code)
        counts += counted(output)
        wrong += re.findall(r"^(?:FAILED|ERROR) .+", output, re.MULTILINE)
        wrong += [f"pytest ended with {code}: {output[-200:]}"] if code not in {0, 1, NOTHING_SELECTED} else []
    told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items())) or "nothing was run"
    print("\n".join([*wrong, f"all shares: {told} in {time.monotonic() - start:.0f} s"]))
    return together(codes)


def shares(folder: Path) -> list[list[str]]:
    """The test files, some to a share, in the order of their names."""
    files = sorted(str(path) for path in folder.glob("test_*.py"))
    return [files[i : i + _FILES] for i in range(0, len(files), _FILES)]


def in_parts(parts: Sequence[Sequence[str]], for_pytest: Sequence[str], at_once: int) -> Iterator[tuple[int, str]]:
    """Exit code and output of each share, as they end."""
    with ThreadPoolExecutor(at_once) as pool:
        for done in as_completed([pool.submit(_tested, files, for_pytest) for files in parts]):
            yield done.result()


def _tested(files: Sequence[str], for_pytest: Sequence[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", *files, *for_pytest]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def counted(output: str) -> Counter[str]:
    """The numbers in pytest's last line."""
    last = output.rstrip().rpartition("\n")[2]
    return Counter({what: int(number) for number, what in _COUNT.findall(last)})


def together(codes: set[int]) -> int:
    """One exit code for all: a share in which ``-k`` selects nothing is no failure, unless it is so in each."""
    return max(codes - {NOTHING_SELECTED}, default=NOTHING_SELECTED)


if __name__ == "__main__":
    raise SystemExit(main())
