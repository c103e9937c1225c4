"""KERNEL: an attention kernel alone (Eq. 6 and 7).

These are asked of a function (query, key, value) -> output, never of a model, and make a verdict of their own:
`pytest suites/conformance --kernel package:function`. All four tensors are (B, h, T, D_h), as torch's
`scaled_dot_product_attention` has them; there is no mask, no dropout, and the scale is 1 / sqrt(D_h). *Semantics* here is
float64, or numerics in the most precise dtype that the kernel accepts. *Numerics*: the error against float64 is at most
twice (for gradients, three times) the worst that the reference has in the same dtype over several orders of evaluation,
plus two units in the last place of the largest value.
"""

from vitbench.requirement import Level, Requirement, Tier

DECLARED = (
    Requirement(
        id="VIT-KERNEL-SHAPE",
        level=Level.MUST,
        statement="For float32 tensors (B, h, T, D_h), and any other dtype that it accepts, a kernel must return a finite "
        "tensor of the same shape and dtype.",
        rationale="Heads that come back merged, or half precision that comes back as float32, break the model around it.",
        source="Eq. 7 and 8",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-KERNEL-VALUES",
        level=Level.MUST,
        statement="A kernel must return softmax(q k^T / sqrt(D_h)) v, the softmax over the keys, for each head on its own.",
        rationale="A wrong scale or axis trains all the same, and shows only beside another implementation (kornia #2186).",
        source="Eq. 6 and 7",
    ),
    Requirement(
        id="VIT-KERNEL-LENGTH",
        level=Level.MUST,
        statement="A kernel must attend over any number of tokens, N + 1 of them, whatever block size it works in.",
        rationale="A class token makes every ViT's sequence odd: 197, 257, 577. Lengths that are no multiple of 128 gave "
        "wrong results in cuDNN's attention (pytorch #169849).",
        source="Eq. 1: z has N + 1 tokens",
    ),
    Requirement(
        id="VIT-KERNEL-HEAD-DIM",
        level=Level.MUST,
        statement="A kernel must serve heads of 64 and of 80 features, with a scale that follows the width.",
        rationale="ViT-H has 1280 / 16 = 80, which is no power of two, and to which a scale of 1/8 does not belong.",
        source="Table 1",
    ),
    Requirement(
        id="VIT-KERNEL-ODD-HEAD-DIM",
        level=Level.SHOULD,
        statement="A kernel should serve heads of any other number of features, odd ones among them.",
        rationale="SigLIP's so400m has 72; features beyond a multiple of 8 or 16 are lost where a kernel cuts blocks.",
        source="Eq. 6 sets no limit",
    ),
    Requirement(
        id="VIT-KERNEL-FUSED-QKV",
        level=Level.MUST,
        statement="A kernel must give the same output for views of one fused tensor as for contiguous query, key and value.",
        rationale="That is what every model with one projection for all three hands over; pointer arithmetic that takes "
        "the tensors for contiguous reads other tokens' features.",
        source="Eq. 5: [q, k, v] = z U_qkv",
    ),
    Requirement(
        id="VIT-KERNEL-STRIDES",
        level=Level.SHOULD,
        statement="A kernel should give the same output for expanded, transposed and sliced tensors as for contiguous ones.",
        rationale="A stride of zero, or other than one between features, is legal for any tensor operation.",
        source="Eq. 6 and 7 speak of values",
    ),
    Requirement(
        id="VIT-KERNEL-BATCH",
        level=Level.MUST,
        statement="The output for one image and head must not depend on the batch's other images and heads.",
        rationale="An index that forgets the batch reuses another image's keys, and leaks what must not be seen.",
        source="Eq. 6 to 8: each image, each head on its own",
    ),
    Requirement(
        id="VIT-KERNEL-EXTREME",
        level=Level.MUST,
        statement="Logits of a thousand and more, above or below zero, and equal ones must give the softmax's right and "
        "finite values.",
        rationale="exp(x) overflows above 88 in float32 unless the maximum is taken off first; large models reach that.",
        source="Eq. 6; softmax(x + c) = softmax(x)",
    ),
    Requirement(
        id="VIT-KERNEL-FLOAT32",
        level=Level.MUST,
        statement="In float32 a kernel must err by no more than twice the error of the reference in float32.",
        rationale="A product taken in bfloat16 or TF32 on the way costs three of seven digits, and looks like noise.",
        source="Eq. 6 and 7",
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-KERNEL-HALF",
        level=Level.SHOULD,
        statement="In float16 and bfloat16 a kernel should err by no more than twice the error of the reference in that "
        "dtype.",
        rationale="Sums of hundreds of terms taken in half precision lose what it has of digits, and no fixed tolerance "
        "tells that from rounding.",
        source="Eq. 6 and 7; flash-attention #1231",
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-KERNEL-GRADIENTS",
        level=Level.SHOULD,
        statement="The gradients of query, key and value should be the reference's, in each dtype that the kernel accepts, "
        "however the incoming gradient lies in memory.",
        rationale="A backward kernel is written by hand, and its defects do not show in any output (pytorch #196678).",
        source="Eq. 6 and 7, differentiated",
        tier=Tier.NUMERICS,
    ),
    Requirement(
        id="VIT-KERNEL-PURE",
        level=Level.MUST,
        statement="A kernel must leave query, key and value, torch's settings and its random state as they were.",
        rationale="Queries that are scaled in place are scaled again at their next use, and backward sees wrong ones.",
        source="Eq. 6 and 7",
        tier=Tier.EXACT,
    ),
    Requirement(
        id="VIT-KERNEL-REPEATABLE",
        level=Level.SHOULD,
        statement="The same tensors should give the same bits twice.",
        rationale="Sums whose order is left to chance make every later difference hard to explain.",
        source="Eq. 6 and 7; good practice",
        tier=Tier.EXACT,
    ),
)
