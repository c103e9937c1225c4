"""TRAIN: gradients, dropout and learning (section 4.1 and appendix B.1)."""

from vitbench.requirement import Level, Requirement, Tier

_DROPOUT = 'Appendix B.1: "Dropout, when used, is applied after every dense layer except for the the qkv-projections and directly after adding positional- to patch embeddings"'

DECLARED = (
    Requirement(
        id="VIT-TRAIN-GRADIENT",
        level=Level.MUST,
        statement="The gradient of every parameter must be that of the paper's model, with either pooling and either head that "
        "is offered; with dropout, that of the loss under the masks that were drawn.",
        rationale="A detached or checkpointed stage, or a mask forgotten on the way back, gives right logits and wrong gradients "
        "(timm 869bac25).",
        source="Eq. 1 to 4, differentiated",
        hooks=("export",),
    ),
    Requirement(
        id="VIT-TRAIN-LIVE",
        level=Level.MUST,
        statement="Every element of every parameter must receive a gradient, but for the key bias, whose gradient is zero.",
        rationale="A parameter that is never used is counted, saved and never learned.",
        source="Eq. 1 to 6; softmax does not see a shift of its logits",
        hooks=("export",),
    ),
    Requirement(
        id="VIT-TRAIN-IMAGES",
        level=Level.SHOULD,
        statement="The gradient should reach the images, and be that of the paper's model.",
        rationale="Saliency, adversarial training and stems of one's own need it; a detached patch embedding breaks it.",
        source="Eq. 1 to 4, differentiated",
    ),
    Requirement(
        id="VIT-TRAIN-STEP",
        level=Level.MUST,
        statement="One step of gradient descent on the cross-entropy must lead to the logits of the paper's model after it.",
        rationale="A parameter that the optimizer is not given stays where it was, though its gradient is right.",
        source="Section 4.1; Eq. 1 to 4, differentiated",
    ),
    Requirement(
        id="VIT-TRAIN-OVERFIT",
        level=Level.MUST,
        statement="A fresh model must be able to learn a few images with random labels by heart.",
        rationale="An initialisation that starts too large, too small or all alike learns nothing, whatever the forward pass.",
        source="Section 4.1",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TRAIN-SAME",
        level=Level.MUST,
        statement="Without dropout, training mode must compute what evaluation mode does.",
        rationale="Batch statistics or a default rate that cannot be switched off make training another model.",
        source="Eq. 1 to 4; the paper's model has no layer that differs in training but dropout",
    ),
    Requirement(
        id="VIT-TRAIN-SILENT",
        level=Level.MUST,
        statement="Back in evaluation mode, a model must compute what it did before, whatever its dropout and drop-path rates.",
        rationale="Drop path or attention dropout that stays active in evaluation looks like noise (Swin #7, pytorch #124464).",
        source=_DROPOUT,
    ),
    Requirement(
        id="VIT-TRAIN-DROPOUT-TOKENS",
        level=Level.MAY,
        statement="A model may drop elements of z_0 in training: each by itself, with the configured rate, the rest scaled up.",
        rationale="The dropout after the positions is easily left out, or takes whole tokens.",
        source=_DROPOUT,
        hooks=("tokens",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TRAIN-DROPOUT-BRANCHES",
        level=Level.MAY,
        statement="A model may drop elements behind the attention's and the MLP's last layer in every block, each by itself, the "
        "rest scaled up, at batch 1 too; that rate drops no attention weights, and nothing behind the final norm.",
        rationale="A keep rate for a drop rate, a missing 1 / (1 - p), a mask for the whole batch, or one block of many trains "
        "another model.",
        source=_DROPOUT,
        hooks=("block_outputs",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TRAIN-DROPOUT-HIDDEN",
        level=Level.MAY,
        statement="A model may drop elements of the MLP's hidden layer in every block too, each by itself, the rest scaled up.",
        rationale="It is the one dropout that ports forget.",
        source=_DROPOUT,
        hooks=("block_outputs",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TRAIN-DROPOUT-ATTENTION",
        level=Level.MAY,
        statement="A model may drop attention weights in every block: each by itself behind the softmax, the rest scaled up.",
        rationale="It was applied before the softmax, in evaluation too, and with one mask for all heads (pytorch #124464).",
        source="Not in the paper; the rate of its published code is attention_dropout_rate",
        hooks=("block_outputs",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TRAIN-DROP-PATH",
        level=Level.MAY,
        statement="A model may drop whole branches: for each image and each of a block's two branches by itself, at batch 1 too, the "
        "rest scaled up.",
        rationale="It was drawn once for the batch, left unscaled, and never happened at batch 1 (Swin #7, VideoX #85, dinov2).",
        source="Huang et al. (2016), Deep Networks with Stochastic Depth, which draws for each residual sum, and a block has two",
        hooks=("block_outputs",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-TRAIN-PATH-SCHEDULE",
        level=Level.MAY,
        statement="A model may drop paths at rates that never fall with depth and end with the configured one, equal for both "
        "branches of a block or rising by equal steps from branch to branch.",
        rationale="A schedule that runs backwards, or ends below the rate that was asked for, regularises another part.",
        source="Huang et al. (2016), section 3: the linear decay rule; a uniform rate is common too",
        hooks=("block_outputs",),
        tier=Tier.EXACT,
    ),
)
