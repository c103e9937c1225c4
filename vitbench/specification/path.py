"""PATH: the same model by another way: gradients, kernels, checkpoints, compilers."""

from vitbench.requirement import Level, Requirement

DECLARED = (
    Requirement(
        id="VIT-PATH-GRAD",
        level=Level.MUST,
        statement="The logits must be the same whether or not gradients are recorded, in inference mode and with frozen parameters "
        "too.",
        rationale="Fast paths are taken without gradients only, so that training and evaluation see two models (pytorch #124464).",
        source="Eq. 1 to 4",
    ),
    Requirement(
        id="VIT-PATH-KERNEL",
        level=Level.MUST,
        statement="The logits must not depend on which of torch's attention kernels is allowed to run.",
        rationale="Fused and unfused attention came apart in scale, mask or dropout (timm #2385).",
        source="Eq. 6",
    ),
    Requirement(
        id="VIT-PATH-UNFUSED",
        level=Level.SHOULD,
        statement="Attention that is written out should give the same logits and gradients as the fused kernel, run none, and drop "
        "weights in training if it does.",
        rationale="The unfused path runs on export and on old devices only, and nobody looks (timm #2385).",
        source="Eq. 6",
        hooks=("unfused",),
    ),
    Requirement(
        id="VIT-PATH-STAGES",
        level=Level.SHOULD,
        statement="Asking for attention weights or other stages should not change the logits that come later.",
        rationale="A switch to a slower path, or a hook, that is left behind makes a model that was looked at another one.",
        source="Eq. 1 to 4",
    ),
    Requirement(
        id="VIT-PATH-CHECKPOINT",
        level=Level.SHOULD,
        statement="Gradient checkpointing should compute again what it does not keep, and change no gradient in train mode, whatever "
        "is dropped.",
        rationale="A block was checkpointed on the wrong tensor (timm 869bac25); dropout must fall on the same elements again.",
        source="Chen et al. 2016",
        hooks=("checkpointed",),
    ),
    Requirement(
        id="VIT-PATH-COMPILE",
        level=Level.SHOULD,
        statement="A compiled model should give the same logits, in training with dropout and at other batch sizes too.",
        rationale="Code asks whether it is being compiled, and takes a path that no test has seen.",
        source="torch.compile",
    ),
    Requirement(
        id="VIT-PATH-EXPORT",
        level=Level.SHOULD,
        statement="An exported model should give the same logits, at other batch sizes than the one it was traced with.",
        rationale="Sizes that are computed in Python are baked into the graph (transformers #47133, mmpretrain #724).",
        source="torch.export",
    ),
)
