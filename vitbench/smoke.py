"""The smoke stage: before anything is judged, the adapter must build, load, run and answer twice the same."""

import torch

from vitbench.candidate import Candidate
from vitbench.cases import Case
from vitbench.errors import AdapterBroken, NotSupported, RequirementFailed
from vitbench.reference.config import ViTConfig
from vitbench.trial import Trial

SMOKE_CONFIG = ViTConfig(
    image_size=(16, 16), patch_size=(8, 8), channels=3, width=24, depth=2, num_heads=3, mlp_dim=48, num_classes=5
)


def smoke(candidate: Candidate) -> None:
    """One plain model, two forward passes.

    Raises:
        AdapterBroken: the adapter fails at that; the text says where and what would have been right.
    """
    case = Case(SMOKE_CONFIG, batch=2, seed=0)
    try:
        trial = _loaded_or_fresh(candidate, case)
        first, second = trial.logits(), trial.logits()
    except NotSupported:
        return  # a package without any plain ViT has nothing to try; its requirements say so one by one
    except RequirementFailed as error:
        raise AdapterBroken(f"adapter {candidate.name!r}: {error} (smoke stage: {case})") from error
    if not torch.equal(first.nan_to_num(), second.nan_to_num()):
        raise AdapterBroken(
            f"adapter {candidate.name!r}: logits() of the same images differ between two calls by up to "
            f"{(first - second).abs().max().item():.3g}; is the model in evaluation mode? (smoke stage: {case})"
        )


def _loaded_or_fresh(candidate: Candidate, case: Case) -> Trial:
    """Loading is optional, and its absence shows in the requirements; building is asked of every candidate."""
    try:
        return candidate.trial(case, exactly=True)
    except NotSupported:
        return candidate.fresh(case)
