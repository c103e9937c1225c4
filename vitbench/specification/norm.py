"""NORM: LayerNorm before every branch and after the last block."""

from vitbench.requirement import Level, Requirement

DECLARED = (
    Requirement(
        id="VIT-NORM-EPSILON",
        level=Level.MUST,
        statement="LayerNorm must use the declared epsilon, also where the variance is as small as epsilon.",
        rationale="1e-5 for 1e-6 or 1e-12 is invisible at variance one (transformers #18137).",
        source="Ba et al. 2016; declared convention",
    ),
    Requirement(
        id="VIT-NORM-BLOCKS",
        level=Level.MUST,
        statement="Both LayerNorms of a block must use the declared epsilon too, where the tokens' variance is as small as epsilon.",
        rationale="Norms are made in several places, and one is made with another default (transformers #18137).",
        source="Ba et al. 2016; declared convention",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-NORM-FINAL",
        level=Level.MUST,
        statement="The representation must be taken through one more LayerNorm, with its own gain and bias.",
        rationale="The final norm was missing, unused or behind the head (mlc-llm #3456, vit-pytorch #274).",
        source="Eq. 4",
        hooks=("block_outputs", "representation"),
    ),
    Requirement(
        id="VIT-NORM-SHIFT",
        level=Level.MUST,
        statement="Adding one constant to all features of the tokens must not change what the branches compute.",
        rationale="A norm that leaves out the mean (RMSNorm) passes wherever means are near zero.",
        source="Ba et al. 2016",
        hooks=("tokens", "block_outputs"),
    ),
)
