"""In which arithmetic a cell computes, by name: a dtype of all tensors, TF32 products, or autocast to a half."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vitbench.errors import NotSupported, UsageError


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """One way to compute."""

    stored: str  # dtype of weights and images
    products: str  # of the matrix products: what a cell is set against
    autocast: bool = False


ARITHMETICS: Mapping[str, Arithmetic] = {
    "float32": Arithmetic(stored="float32", products="float32"),
    "tf32": Arithmetic(stored="float32", products="tf32"),
    "bfloat16": Arithmetic(stored="bfloat16", products="bfloat16"),
    "float16": Arithmetic(stored="float16", products="float16"),
    "autocast-bfloat16": Arithmetic(stored="float32", products="bfloat16", autocast=True),
    "autocast-float16": Arithmetic(stored="float32", products="float16", autocast=True),
}


def arithmetic(name: str) -> Arithmetic:
    """The arithmetic of that name.

    Raises:
        UsageError: there is none; the text lists those there are.
    """
    if name not in ARITHMETICS:
        raise UsageError(f"no arithmetic {name!r}; there are {', '.join(ARITHMETICS)}")
    return ARITHMETICS[name]


@contextmanager
def computing(how: Arithmetic, device: str) -> Iterator[None]:
    """Within this context products are as the arithmetic has them, float32 without a name being float32 indeed.

    torch's own default has TF32 on for convolutions and off for products; both are set, and put back.

    Raises:
        NotSupported: the device has no such products.
    """
    import torch  # noqa: PLC0415  # a second; the names above serve command lines

    kind = device.partition(":")[0]
    if how.products == "tf32" and kind == "cpu":
        raise NotSupported("tf32 is a way in which CUDA's tensor cores multiply float32; the CPU has none")
    owners = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]  # made at run time
    before = [owner.fp32_precision for owner in owners]
    for owner in owners:
        owner.fp32_precision = "tf32" if how.products == "tf32" else "ieee"
    try:
        with torch.autocast(kind, getattr(torch, how.products if how.autocast else "bfloat16"), enabled=how.autocast):
            yield
    finally:
        for owner, precision in zip(owners, before, strict=True):
            owner.fp32_precision = precision
