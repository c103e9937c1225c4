"""The conformance suite's checks, for tests that run them without pytest."""

import vitbench.suites.conformance as suite
from vitbench.candidate import ForeignCode
from vitbench.check import Judgement, collect, configured, judge

CHECKS = {id_: configured(check, "quick", seed=0) for id_, check in collect(suite).items()}


def judged(requirement_id: str, candidate: ForeignCode) -> Judgement:
    """One requirement, judged in this process."""
    return judge(CHECKS[requirement_id], candidate)
