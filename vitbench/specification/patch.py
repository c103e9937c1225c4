"""PATCH: the image becomes N = HW / P² tokens (Eq. 1)."""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-PATCH-COUNT",
        level=Level.MUST,
        statement="An image of H x W pixels must become N = HW / (P_h P_w) patch tokens of width D.",
        rationale="Implementations that count tokens by a square root break on rectangular grids (keras_cv 0.9.0).",
        source="Section 3.1: N = HW/P²",
        hooks=("patch_tokens",),
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-PATCH-PROJECTION",
        level=Level.MUST,
        statement="Patch tokens must be the declared projection of each flattened patch: x_p E + b.",
        rationale="Dilated patches (`(p1 h)(p2 w)` for `(h p1)(w p2)`) train well enough to go unnoticed (vit-pytorch 825a948).",
        source="Eq. 1",
        hooks=("patch_tokens",),
    ),
    Requirement(
        id="VIT-PATCH-IMPULSE",
        level=Level.MUST,
        statement="A single lit pixel must add exactly its column of the kernel to its patch's token.",
        rationale="A closed form that needs no parity: it names the pixel whose weight is read in the wrong place.",
        source="Eq. 1",
        hooks=("patch_tokens",),
    ),
    Requirement(
        id="VIT-PATCH-LINEAR",
        level=Level.MUST,
        statement="The patch embedding must be an affine map of the pixels: it keeps weighted means of images.",
        rationale="A normalisation or activation inside the embedding is another model than the paper's.",
        source='Section 3.1: "a trainable linear projection (Eq. 1)"',
        hooks=("patch_tokens",),
    ),
    Requirement(
        id="VIT-PATCH-LOCALITY",
        level=Level.MUST,
        statement="A change within one patch must change that patch's token and no other.",
        rationale="Patches do not overlap; a wrong stride or a dilated reshape mixes distant pixels.",
        source="Section 3.1",
        hooks=("patch_tokens",),
    ),
    Requirement(
        id="VIT-PATCH-RASTER",
        level=Level.MUST,
        statement="Patch tokens must be in raster order: left to right within a row, rows from top to bottom.",
        rationale="Column-major order meets square symmetric tests and misplaces every position embedding.",
        source="Figure 1",
        hooks=("patch_tokens",),
    ),
    Requirement(
        id="VIT-PATCH-INDIVISIBLE",
        level=Level.MUST,
        statement="An image that the patches do not divide must be refused, or padded where that is declared; never cropped.",
        rationale="Cropping silently ignores pixels (transformers ViT with interpolate_pos_encoding=True at 36 x 39, patch 8).",
        source="Section 3.1: N = HW/P² is a whole number",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-PATCH-CHANNELS",
        level=Level.SHOULD,
        statement="A model should accept any number of image channels C, and refuse images that have another number of them.",
        rationale="C = 3 hard-coded excludes radar, satellite and grey images (transformers ViTMAE #17491). Channels that are "
        "cut off or repeated in silence are another image.",
        source="Section 3.1: x of shape H x W x C",
    ),
    Requirement(
        id="VIT-PATCH-IMAGE-RECTANGULAR",
        level=Level.SHOULD,
        statement="A model should accept images of any height and width that the patch size divides.",
        rationale="The paper writes H x W throughout; a square in the code is a limit of the code.",
        source="Section 3.1: x of shape H x W x C",
    ),
    Requirement(
        id="VIT-PATCH-SHAPE-RECTANGULAR",
        level=Level.MAY,
        statement="A model may have patches whose height and width differ.",
        rationale="The paper's patches are square; spectrograms and strips use others, and mixed-up axes show only there.",
        source="Section 3.1: patches of (P, P)",
    ),
)
