"""TOKEN: the class token and the positions make z_0 (Eq. 1)."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-TOKEN-LENGTH",
        level=Level.MUST,
        statement="The encoder must receive N + 1 tokens of width D: the class token and the N patches.",
        rationale="A missing or doubled class token changes every later shape.",
        source="Eq. 1",
        hooks=("tokens",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TOKEN-CLASS-FIRST",
        level=Level.MUST,
        statement="Token 0 must be the class token: it does not depend on the image, and every other token does.",
        rationale="Ports that place it last read a patch as the image's representation (llama.cpp #25814).",
        source="Eq. 1: z_0 = [x_class; x_p^1 E; …]",
        hooks=("tokens",),
    ),
    Requirement(
        id="VIT-TOKEN-CLASS-EXPANDED",
        level=Level.MUST,
        statement="Every image of a batch must receive the same class token.",
        rationale="A token that is not expanded to the batch breaks or leaks between images (vit-pytorch 8fb261c).",
        source="Eq. 1",
        hooks=("tokens",),
    ),
    Requirement(
        id="VIT-TOKEN-POSITION",
        level=Level.MUST,
        statement="Each token must have its own position embedding added exactly once.",
        rationale="Tables were left out behind a zero initialisation (TensorRT-LLM #11065) and added twice (candle #2286).",
        source="Eq. 1: + E_pos",
        hooks=("tokens",),
    ),
    Requirement(
        id="VIT-TOKEN-ORDER",
        level=Level.MUST,
        statement="The logits must depend on the order of the patches through the position embeddings.",
        rationale="Without positions the encoder sees a bag of patches, and no shape tells.",
        source="Section 3.1; section 4.5, appendix D.4",
    ),
)
