"""What each requirement costs, the dearest first: CPU seconds of its check for each implementation, and per example.

    python scripts/time_per_requirement.py --preset quick --impl reference --impl timm --top 20

CPU time of this process, one thread: other work on the machine hardly shows. What a check's own child processes take
(compilers, mainly) is not in it. ``scripts/time_to_verdict.py`` times whole runs by the wall clock, start-up included.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

import vitbench.suites.conformance as suite
from vitbench.candidate import Candidate
from vitbench.check import Judgement, collect, configured, judge
from vitbench.registry import installed, resolve
from vitbench.specification import requirements


def main() -> int:
    """A row for each requirement, and what all of them come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impl", action="append", help="implementation (repeatable; default: all installed)")
    parser.add_argument("--preset", default="quick", choices=("quick", "standard", "full"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="ID", help="these requirements (default: all of a model)")
    parser.add_argument("--top", type=int, metavar="N", help="show the N dearest only (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.impl or installed()
    checks = {id_: check for id_, check in collect(suite).items() if id_ in (options.only or requirements("model"))}
    judged = {name: judge_all(name, checks, options.preset, options.seed) for name in names}
    dearest = sorted(checks, key=lambda id_: -median(judged[name][id_].duration_s for name in names))
    print(f"{'requirement':<30} {'examples':>8} {'ms each':>8} " + " ".join(f"{name[:12]:>12}" for name in names))
    for id_ in dearest[: options.top]:
        of_all = [judged[name][id_] for name in names]
        each = [1000 * j.duration_s / examples(j) for j in of_all if examples(j)]
        cells = " ".join(f"{j.duration_s:12.3f}" for j in of_all)
        print(f"{id_:<30} {max(map(examples, of_all)):>8} {median(each) if each else 0:>8.2f} {cells}")
    totals = " ".join(f"{sum(j.duration_s for j in judged[name].values()):12.3f}" for name in names)
    print(f"{f'all {len(checks)}':<48} {totals}")
    return 0


def judge_all(name: str, checks: dict[str, Callable[..., None]], preset: str, seed: int) -> dict[str, Judgement]:
    """Each check once, timed by CPU seconds."""
    candidate = Candidate(resolve(name))
    return {id_: judge(configured(c, preset, seed), candidate, clock=time.process_time) for id_, c in checks.items()}


def examples(judgement: Judgement) -> int:
    """Those that were run, whether they could be judged or not."""
    return judgement.evidence.examples + judgement.evidence.unsupported


if __name__ == "__main__":
    raise SystemExit(main())
