"""MLP: two layers with a GELU between (section 3.1)."""

from vitbench.requirement import Level, Requirement

DECLARED = (
    Requirement(
        id="VIT-MLP-ACTIVATION",
        level=Level.MUST,
        statement="The MLP's non-linearity must be the declared form of GELU.",
        rationale="Its tanh form differs by 4.7e-4, the quick one by 0.02: enough to spoil a port (timm #1754).",
        source='Section 3.1: "two layers with a GELU non-linearity"',
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-MLP-READOUT",
        level=Level.MUST,
        statement="A hidden unit that receives x from its bias alone must answer x Phi(x), or the declared form of it, from -8 to 8.",
        rationale="The activation point by point, far out too, where images seldom lead: clipped forms and series differ there.",
        source="Hendrycks and Gimpel 2016",
        hooks=("tokens", "block_outputs"),
    ),
    Requirement(
        id="VIT-MLP-TOKENWISE",
        level=Level.MUST,
        statement="The MLP must treat each token by itself.",
        rationale='Section 3.1: "only MLP layers are local and translationally equivariant, while self-attention is global".',
        source="Section 3.1, inductive bias",
        hooks=("block_outputs",),
    ),
    Requirement(
        id="VIT-MLP-WIDTH",
        level=Level.MUST,
        statement="The MLP must have exactly the configured number of hidden units, and each must take part.",
        rationale="A fixed factor of four ignores the argument (kornia #2786).",
        source='Table 1, "MLP size"',
    ),
)
