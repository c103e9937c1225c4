"""ATTN: multi-head self-attention (appendix A, Eq. 5 to 8)."""

from vitbench.requirement import Level, Requirement

DECLARED = (
    Requirement(
        id="VIT-ATTN-ROWS",
        level=Level.MUST,
        statement="Attention weights must be non-negative and each query's must sum to one over the keys.",
        rationale="A softmax over the wrong axis keeps the shape and trains (nerminnuraydogan/vision-transformer #1).",
        source="Eq. 6",
        hooks=("attention",),
    ),
    Requirement(
        id="VIT-ATTN-SCALE",
        level=Level.MUST,
        statement="Attention weights must be softmax(q k^T / sqrt(D_h)), with D_h the width of one head.",
        rationale="Scaling by the model's width is the classic slip (vit-pytorch #65).",
        source="Eq. 6",
        hooks=("tokens", "attention"),
    ),
    Requirement(
        id="VIT-ATTN-TWO-TOKENS",
        level=Level.MUST,
        statement="With two tokens, each must receive sigmoid((k_1 - k_0) q / sqrt(D_h)) of the second one's value, the rest of the first's.",
        rationale="The smallest attention there is, in closed form: scale, softmax, heads and merge without a reference.",
        source="Eq. 5 to 8 for N = 1",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-ATTN-CONSTANT",
        level=Level.MUST,
        statement="Where all values are the same, every token must receive that value, whatever the queries and keys.",
        rationale="Weights that do not sum to one over the keys show, also where they cannot be seen.",
        source="Eq. 6 and 7",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-ATTN-UNIFORM",
        level=Level.MUST,
        statement="With query weights of zero, every token must receive the same mean of all values.",
        rationale="A closed form that needs no parity: values, merge and output projection stand alone.",
        source="Eq. 6 and 7",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-ATTN-HEADS",
        level=Level.MUST,
        statement="Permuting the heads in all four projections must leave the logits unchanged.",
        rationale="Heads that are merged without transposing mix tokens with features (jsbaan/transformer #6).",
        source="Eq. 8",
    ),
    Requirement(
        id="VIT-ATTN-SEPARATE-HEADS",
        level=Level.MUST,
        statement="A model of several heads must attend with each head on its own D_h features.",
        rationale="One wide head where several were asked for has the same parameters and shapes (kornia #2186).",
        source="Appendix A: MSA runs k heads in parallel",
    ),
    Requirement(
        id="VIT-ATTN-KEY-BIAS",
        level=Level.SHOULD,  # a model without biases cannot show it; a wrong one fails its logits too
        statement="The key bias should not change the logits.",
        rationale="Softmax is shift-invariant; an effect means keys and queries or values are mixed up (libai #146).",
        source="Eq. 6",
    ),
)
