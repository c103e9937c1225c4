"""NUM: each dtype is as exact as it can be, and large numbers stay finite."""

from vitbench.requirement import Level, Requirement, Tier

_SOURCE = "Eq. 1 to 4, in floating point; Higham 2002, chapter 3, on errors that depend on the order of evaluation"

DECLARED = (
    Requirement(
        id="VIT-NUM-FLOAT32",
        level=Level.MUST,
        statement="A float32 model must be as exact as float32 allows, in its logits and its gradients.",
        rationale="A product in half precision, or an approximated GELU, hides in training and shows in transfer.",
        source=_SOURCE,
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-NUM-BFLOAT16",
        level=Level.SHOULD,
        statement="A bfloat16 model should be as exact as bfloat16 allows.",
        rationale="Most models are served so; a sum or a softmax more coarse than its dtype costs accuracy unseen.",
        source=_SOURCE,
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-NUM-FLOAT16",
        level=Level.SHOULD,
        statement="A float16 model should be as exact as float16 allows.",
        rationale="Half precision gave NaN or overflowed where a step was left in the wrong dtype (mage #26).",
        source=_SOURCE,
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-NUM-AUTOCAST",
        level=Level.SHOULD,
        statement="Under torch.autocast to bfloat16 or float16 a float32 model should be as exact as a model in that dtype, in "
        "its logits and its gradients, and be itself again afterwards.",
        rationale="Mixed precision is how models are trained; casts by hand inside a model undo it or are left behind.",
        source="torch.autocast; " + _SOURCE,
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-NUM-DTYPE",
        level=Level.SHOULD,
        statement="The logits of a float32 model should be float32, and those of a half precision model in its own dtype or "
        "float32.",
        rationale="A float64 table of positions or a float from numpy turns all that follows into float64, at its price.",
        source="Good practice",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-NUM-LARGE-SCORES",
        level=Level.MUST,
        statement="Attention must be right where scores are near a hundred, and finite in float32 where they are near a "
        "thousand.",
        rationale="A softmax that does not subtract the maximum overflows at 89 in float32; trained models have such scores.",
        source="Eq. 6; Dehghani et al. 2023, section 2, for scores above 50,000",
    ),
    Requirement(
        id="VIT-NUM-LARGE-HIDDEN",
        level=Level.MUST,
        statement="The MLP must be right where its hidden values are in the thousands, of either sign, and finite in float32.",
        rationale="exp(2x) overflows at 45 in float32: a tanh or sigmoid written by hand gives NaN there.",
        source="Section 3.1; Hendrycks and Gimpel 2016",
    ),
    Requirement(
        id="VIT-NUM-FLAT",
        level=Level.MUST,
        statement="Logits must be finite in float32 where all features of a token are equal.",
        rationale="The mean square less the squared mean can come out negative there, and its root is NaN.",
        source="Ba et al. 2016: the variance is not negative, and epsilon is added to it",
        tier=Tier.EXACT,
    ),
)
