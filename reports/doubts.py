"""Why a measured figure is less than sure, in a word or two each; its evidence says why so."""

from vitbench.conditions.record import Validity
from vitbench.records import MeasurementRecord, kind_of_node


def doubts(*records: MeasurementRecord) -> tuple[str, ...]:
    """What holds against any of them: "not converged", "INVALID", "UNWATCHED"; and against comparing them: "unlike nodes"."""
    unsure = any(record.converged is False for record in records)
    unlike = len({kind_of_node(record.node) for record in records}) > 1
    verdicts = [str(record.evidence.verdict) for record in records if record.evidence is not None]
    against = sorted({verdict for verdict in verdicts if verdict != Validity.VALID})
    return (*(("not converged",) if unsure else ()), *(("unlike nodes",) if unlike else ()), *against)
