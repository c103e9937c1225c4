"""HEAD: from the representation to the logits (section 3.1)."""

from vitbench.requirement import Level, Requirement

DECLARED = (
    Requirement(
        id="VIT-HEAD-LOGITS",
        level=Level.MUST,
        statement="The logits must equal the paper's model from pixels to class scores, for the same weights.",
        rationale="The whole path at once; parts that are each right can still be joined wrongly, or at small sizes only. Images "
        "that are black, bright or broken are images too: a model that rescales, masks or repairs them in silence is another.",
        source="Eq. 1 to 4",
    ),
    Requirement(
        id="VIT-HEAD-LINEAR",
        level=Level.MUST,
        statement="The fine-tuning head must be one linear layer on the representation.",
        rationale="A hidden tanh layer that was left in, or a head that reads other tokens, changes every fine-tuned score.",
        source='Section 3.1: "by a single linear layer at fine-tuning time"',
        hooks=("representation",),
    ),
    Requirement(
        id="VIT-HEAD-CLASS-TOKEN",
        level=Level.MUST,
        statement="The logits must be read from the class token alone: where it cannot see the image, neither can they.",
        rationale="Reading another token, or a mean that counts the class token, is a different classifier (vit-pytorch #226).",
        source="Eq. 4: y = LN(z_L^0)",
    ),
    Requirement(
        id="VIT-HEAD-MEAN",
        level=Level.MAY,
        statement="A model may pool by the mean of the patch tokens behind the final LayerNorm, without the class token.",
        rationale="A common variant (big_vision). Counting the class token in (vit-pytorch #226) and taking the norm of the "
        "mean for the mean of the norms (vit-pytorch #274) are known slips.",
        source="Appendix D.3",
    ),
    Requirement(
        id="VIT-HEAD-HIDDEN",
        level=Level.SHOULD,
        statement="A pre-training head should be available: an MLP with one hidden layer of width D.",
        rationale="Checkpoints carry it as pre-logits, and it was lost on the way (timm 85f894e0).",
        source='Section 3.1: "a MLP with one hidden layer at pre-training time"',
    ),
    Requirement(
        id="VIT-HEAD-INIT",
        level=Level.SHOULD,
        statement="A fresh fine-tuning head should start as declared: at zero in the paper.",
        rationale="A zero head starts fine-tuning from chance, whatever the features.",
        source='Section 3.2: "a zero-initialized D x K feedforward layer"',
        hooks=("export",),
    ),
)
