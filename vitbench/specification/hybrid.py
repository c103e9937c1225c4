"""HYBRID: patches taken from a CNN's feature map (section 3.1)."""

from vitbench.requirement import Level, Requirement, Tier

_SECTION = (
    'Section 3.1: "the patch embedding projection E (Eq. 1) is applied to patches extracted from a CNN feature map"'
)

DECLARED = (
    Requirement(
        id="VIT-HYBRID-COUNT",
        level=Level.MAY,
        statement="A model may take its patches from a CNN's feature map of H' x W' cells, N = H'W' / (P_h P_w) of them.",
        rationale="The grid follows from the map, whose sides the stem rounds as it likes, and not from the image.",
        source=_SECTION,
        hooks=("feature_map", "patch_tokens"),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-HYBRID-PATCH-SIZE",
        level=Level.MAY,
        statement="A model may take patches of any P_h x P_w cells from a CNN's feature map, with a weight for each of their C' P_h P_w numbers.",
        rationale="Patches of pixels and of a map have different defaults; one expression for both, `patch_size or 1 if hybrid else 16`, lost the argument (timm 17cdee73).",
        source='Section 3.1: "As a special case, the patches can have spatial size 1x1"',
        hooks=("feature_map", "export"),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-HYBRID-PROJECTION",
        level=Level.MAY,
        statement="A model may project patches of a CNN's feature map, each as a patch of pixels is: flattened, in raster order, x_p E + b.",
        rationale="Flattening a map mixes up rows, columns and channels as easily as cutting up an image, and shows on rectangles only.",
        source=_SECTION,
        hooks=("feature_map", "patch_tokens"),
    ),
    Requirement(
        id="VIT-HYBRID-LOGITS",
        level=Level.MAY,
        statement="A model may be a hybrid, whose logits are those of the paper's model with a CNN's feature map for its image.",
        rationale="Class token and positions are added to a hybrid's tokens too, though its CNN knows where things are.",
        source='Section 3.1: "The classification input embedding and position embeddings are added as described above"',
        hooks=("feature_map",),
    ),
    Requirement(
        id="VIT-HYBRID-TRAINABLE",
        level=Level.MAY,
        statement="A model may train a CNN together with the encoder: every parameter of which the feature map is made gets a gradient from the logits.",
        rationale="A map that is cut off from the graph between the two trains the encoder alone, and nothing else shows it.",
        source="Section 4.4: hybrids are pre-trained as one model",
        hooks=("feature_map",),
        tier=Tier.EXACT,
    ),
)
