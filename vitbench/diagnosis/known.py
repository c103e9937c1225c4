"""The deviations that a diagnosis knows, and the requirements to whose failure it can speak."""

from collections.abc import Sequence
from dataclasses import replace

from vitbench.deviations import BANK
from vitbench.deviations.conventions import alternatives
from vitbench.deviations.deviation import Rewriting
from vitbench.reference.config import Conventions
from vitbench.requirement import Requirement

_AREAS = frozenset({"PATCH", "TOKEN", "BLOCK", "ATTN", "MLP", "NORM", "HEAD", "POS"})
_OTHERS = frozenset({"VIT-TRAIN-GRADIENT", "VIT-TRAIN-LIVE", "VIT-TRAIN-IMAGES", "VIT-CONFIG-HEADS"})
_ASSUMED = ("for the declared", "for the assumed")
_NOT = frozenset({"VIT-HEAD-INIT", "VIT-POS-DTYPE", "VIT-POS-HALF"})


def applies(requirement: Requirement) -> bool:
    """Whether a failure of it can be a matter of parity: of logits, gradients or resized positions in float64.

    Dropout, initialisation, other dtypes, purity, state, other paths through the same model and a hybrid's stem are none.
    """
    return requirement.id in _OTHERS or (requirement.area in _AREAS and requirement.id not in _NOT)


def known(declared: Conventions, *, inferred: bool = False) -> Sequence[Rewriting]:
    """Conventions made and not declared, then the bank's deviations that can show in parity.

    Args:
        inferred: nobody declared the conventions: they were read from the model, or are the defaults.
    """
    choices = {rewriting.id: rewriting for rewriting in alternatives(declared)}
    if inferred:
        choices = {id_: replace(one, summary=one.summary.replace(*_ASSUMED)) for id_, one in choices.items()}
    return [*choices.values(), *(d for d in BANK.values() if d.remedy and d.id not in choices)]
