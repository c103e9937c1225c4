"""STATE: weights go in and come out."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-STATE-ROUND-TRIP",
        level=Level.MUST,
        statement="Canonical weights that were loaded must be exported again, every name, shape and bit.",
        rationale="A tensor that is dropped or cut on load leaves a default in its place (timm #2324).",
        source="Table 1; canonical parameters",
        hooks=("export",),
        tier=Tier.EXACT,
    ),
)
