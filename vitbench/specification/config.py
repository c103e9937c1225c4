"""CONFIG: the arguments of a model do what they say."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-CONFIG-PARAMETERS",
        level=Level.MUST,
        statement="A model must have exactly the parameters that its configuration implies, by name and shape.",
        rationale="Arguments were accepted and not forwarded (vit-pytorch 06a1f42); the count tells.",
        source="Table 1",
        hooks=("export",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-CONFIG-IMAGE-SIZE",
        level=Level.MUST,
        statement="Images of another size than the configured one must be refused, unless the positions are resized.",
        rationale="Positions that are cut off or broadcast give plausible logits for the wrong places; resized in training too, "
        "they learn from every size.",
        source="Section 3.2",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-CONFIG-HEADS",
        level=Level.MUST,
        statement="Another number of heads must give other logits for the same weights.",
        rationale="It is the one size that no parameter's shape shows, so that ignoring it goes unseen (kornia #2186).",
        source="Appendix A, Eq. 8; Table 1",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-CONFIG-VARIANTS",
        level=Level.MUST,
        statement="The published sizes, from Ti/16 to H/14, must have as many parameters as published.",
        rationale="Small models do not show a limit or a default that takes over at the real sizes.",
        source="Table 1; Touvron et al. 2021, Table 1",
        hooks=("export",),
        tier=Tier.EXACT,
    ),
)
