"""STATE: weights go in and come out."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-STATE-ROUND-TRIP",
        level=Level.MUST,
        statement="Canonical weights that were loaded must be exported again, every name and shape, and every number up to "
        "rounding.",
        rationale="A tensor that is dropped or cut on load leaves a default in its place (timm #2324).",
        source="Table 1; canonical parameters",
        hooks=("export",),
    ),
    Requirement(
        id="VIT-STATE-REBUILD",
        level=Level.MUST,
        statement="The state that a model gives out must make any other model of its sizes give the same logits, and after its "
        "image size was changed too.",
        rationale="A table that is no parameter and no saved buffer stays behind: the checkpoint scores as another model.",
        source="Good practice; torch's state_dict, or the adapter's export where the model is no torch module",
    ),
    Requirement(
        id="VIT-STATE-RELOAD",
        level=Level.MUST,
        statement="A model that has run must take other weights on completely, and keep nothing of the former ones.",
        rationale="Fused or converted weights that were cached at the first use go on being used.",
        source="Good practice",
    ),
    Requirement(
        id="VIT-STATE-DEEPCOPY",
        level=Level.SHOULD,
        statement="A deep copy should give the same logits, share nothing with its original, and be possible after a training "
        "step as before.",
        rationale="Averaged weights and teachers are made by copying; a copy that computes with the original's is none.",
        source="Good practice; copy.deepcopy",
    ),
    Requirement(
        id="VIT-STATE-PICKLE",
        level=Level.SHOULD,
        statement="A model should survive being pickled, and give the same logits afterwards.",
        rationale="torch.save, process pools and most launchers pickle; a lambda kept on the module ends them.",
        source="Good practice; torch.save",
    ),
    Requirement(
        id="VIT-STATE-SAFETENSORS",
        level=Level.SHOULD,
        statement="A model should give the same logits after its weights went through a safetensors file.",
        rationale="The format refuses tensors that overlap and knows no others than those registered.",
        source="safetensors.torch.save_model and load_model",
    ),
    Requirement(
        id="VIT-STATE-TRAINABLE",
        level=Level.SHOULD,
        statement="A model should train no parameters beyond those that its configuration implies.",
        rationale="A LayerScale that starts at one agrees with every loaded weight, and trains as another model.",
        source="Table 1; canonical parameters",
        tier=Tier.EXACT,
    ),
)
