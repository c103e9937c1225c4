"""PURE: evaluation is a function of weights and images, and of nothing else."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-PURE-REPEATABLE",
        level=Level.MUST,
        statement="The same images must give the same bits twice in evaluation mode.",
        rationale="Dropout that stays active in evaluation is random, and looks like noise (timm #1978).",
        source="Section 3; evaluation is deterministic",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-PURE-BATCH",
        level=Level.MUST,
        statement="An image's logits must not depend on which other images are in the batch.",
        rationale="Images that see each other leak labels; a wrong reshape or a batch statistic does it.",
        source="Eq. 1 to 4 speak of one image",
    ),
    Requirement(
        id="VIT-PURE-INPUT",
        level=Level.MUST,
        statement="A forward pass must not change the images it is given, in training neither.",
        rationale="In-place preprocessing corrupts the caller's data, and shows only at the second use.",
        source="Eq. 1 to 4",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-PURE-WEIGHTS",
        level=Level.MUST,
        statement="A forward pass in evaluation mode must not change the weights.",
        rationale="A weight that drifts with use makes every measurement depend on history.",
        source="Eq. 1 to 4",
        hooks=("export",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-PURE-GLOBAL",
        level=Level.MUST,
        statement="Building and running a model must not change torch's global settings, and running no random state (torch's, "
        "Python's or numpy's) but by drawing from it in training.",
        rationale="A library that sets the default dtype or grad mode, or draws from a generator that its caller has seeded, "
        "changes its caller's results.",
        source="Good practice",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-PURE-LAYOUT",
        level=Level.MUST,
        statement="Images that are not contiguous, or in channels-last layout, must give the same logits.",
        rationale="A view() where reshape() was meant fails or, worse, reads memory in the wrong order.",
        source="Eq. 1 to 4",
    ),
)
