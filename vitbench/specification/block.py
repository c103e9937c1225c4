"""BLOCK: the pre-norm encoder block (Eq. 2 and 3)."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-BLOCK-DEPTH",
        level=Level.MUST,
        statement="The encoder must consist of L blocks, each of which takes part in the forward pass.",
        rationale="A block that is built and never called, or called twice, keeps all shapes.",
        source="Eq. 2 and 3: l = 1 … L",
        hooks=("block_outputs",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-BLOCK-PRENORM",
        level=Level.MUST,
        statement="Each block must compute z' = MSA(LN(z)) + z and MLP(LN(z')) + z' from the tokens it receives.",
        rationale="Post-norm, swapped branches and residuals taken after the norm train too (pytorch #61165).",
        source="Eq. 2 and 3",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-BLOCK-RESIDUAL",
        level=Level.MUST,
        statement="A block whose two output projections are zero must return its tokens unchanged.",
        rationale="Both residual connections are then all that is left.",
        source="Eq. 2 and 3",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-BLOCK-EQUIVARIANT",
        level=Level.MUST,
        statement="Without position embeddings, a permutation of the patches must leave the class token's logits unchanged.",
        rationale="Only positions tell the encoder where a patch was; anything else that does is a defect.",
        source="Section 3.1; Eq. 1 to 4",
    ),
)
