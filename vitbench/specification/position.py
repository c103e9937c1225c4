"""POS: position embeddings at another resolution (section 3.2)."""

from vitbench.requirement import Level, Requirement, Tier

_HOOK = ("resize_position_embedding",)
_SOURCE = 'Section 3.2: "2D interpolation of the pre-trained position embeddings, according to their location"'

DECLARED = (
    Requirement(
        id="VIT-POS-SIZE",
        level=Level.MUST,
        statement="A resized table must have one row for the class token and one for each new patch.",
        rationale="A row too few or too many fails at the sum with the tokens, or is broadcast.",
        source=_SOURCE,
        hooks=_HOOK,
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-POS-IDENTITY",
        level=Level.MUST,
        statement="Resizing to the same grid must return the same table.",
        rationale="A checkpoint loaded at its own resolution must not change.",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-CONSTANT",
        level=Level.MUST,
        statement="A table that is the same everywhere must stay so at any size.",
        rationale="Interpolation weights sum to one; zero padding at the border does not.",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-CLASS-ROW",
        level=Level.MUST,
        statement="The class token's row must be carried over untouched, and must not leak into the patches' rows.",
        rationale="The class token has no place in the image.",
        source="Section 3.2",
        hooks=_HOOK,
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-POS-RESIZE",
        level=Level.MUST,
        statement="A table must be resized in two dimensions with the declared kernel.",
        rationale="A wrong kernel, offset or antialias moves every embedding a little (mlx-vlm #2266, #1243).",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-RECTANGULAR",
        level=Level.MUST,
        statement="A grid must be resized from any number of rows and columns to any other, not only between squares.",
        rationale="A side taken as the square root of the count breaks on rectangles (timm #2190, transformers RT-DETR #41380).",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-EQUAL-COUNT",
        level=Level.MUST,
        statement="A grid of the same number of patches in another shape must be resized like any other.",
        rationale="A shortcut on the count returns the table unchanged: 2 x 8 positions serve as 4 x 4 (timm #2737, open_clip).",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-MIRROR",
        level=Level.MUST,
        statement="Resizing must commute with mirroring the grid, left to right and top to bottom.",
        rationale="A kernel that is off by a fraction of a cell moves every embedding towards one corner.",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-TRANSPOSE",
        level=Level.MUST,
        statement="Resizing must commute with exchanging rows and columns.",
        rationale="Height and width swapped go unseen on squares (transformers RT-DETR #41380).",
        source=_SOURCE,
        hooks=_HOOK,
    ),
    Requirement(
        id="VIT-POS-DTYPE",
        level=Level.MUST,
        statement="A resized table must keep the dtype of the given one, float32 or float64.",
        rationale="A table of another dtype promotes, or breaks, the whole model.",
        source="Section 3.2",
        hooks=_HOOK,
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-POS-HALF",
        level=Level.SHOULD,
        statement="A table in bfloat16 or float16 should be resized, and keep its dtype.",
        rationale="A half-precision model breaks where the kernel is missing or promotes (mlx-vlm #1243, pytorch #175489).",
        source="Section 3.2",
        hooks=_HOOK,
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-POS-MODEL",
        level=Level.SHOULD,
        statement="A model should run at another resolution with its positions resized, and all other weights kept.",
        rationale="Fine-tuning at a higher resolution is half of the paper's recipe.",
        source="Section 3.2",
        hooks=("at_image_size",),
    ),
)
