"""What this device does at most, measured: a large matrix product in each dtype, and a large copy.

Random data, since zeros run faster; the same clocks as the cells'. The product's size grows until one takes long enough
to be worth timing, or memory or patience set an end; its rate is that of the median.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitbench.errors import is_lack_of_memory
from vitbench.limits.roofline import Ceilings, Copy, Product
from vitbench.timer import Clock, Effort, clock_for, sample

ON_CPU = ("float32", "bfloat16", "float16")
ON_CUDA = ("float32", "tf32", "bfloat16", "float16", "float8_e4m3fn")
EFFORT = Effort(relative_width=0.02, least_samples=7, least_s=0.3, most_s=1.0, most_warmup_s=0.5)

_SIZES = (256, 512, 1024, 2048, 4096, 8192)
_LONG_ENOUGH_S = {"cpu": 0.02, "cuda": 2e-3}  # of one product; the next size takes eight times that
_COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # beyond most caches; where it is not, the record shows it


def measure_ceilings(device: str, effort: Effort = EFFORT) -> Ceilings:
    """Products and copy on this device, with the threads that torch has now."""
    clock, kind = clock_for(device), device.partition(":")[0]
    products = [_product_or_reason(device, name, clock, effort) for name in (ON_CPU if kind == "cpu" else ON_CUDA)]
    return Ceilings(products=products, copy=_copy(device, clock, effort))


def _product_or_reason(device: str, arithmetic: str, clock: Clock, effort: Effort) -> Product:
    """The product's rate, or why there is none: devices lack dtypes, and say so in errors of any kind."""
    try:
        with torch.inference_mode(), _arithmetic(arithmetic):
            return _product(device, arithmetic, clock, effort)
    except (RuntimeError, NotImplementedError, AttributeError, ValueError) as error:
        if is_lack_of_memory(error):
            raise
        return Product(arithmetic=arithmetic, flops_per_s=None, reason=" ".join(str(error).split())[:200])


def _product(device: str, arithmetic: str, clock: Clock, effort: Effort) -> Product:
    long_enough_s = _LONG_ENOUGH_S[device.partition(":")[0]]
    for size in _SIZES:
        launch = _launch(size, device, arithmetic)
        launch()  # loads the library
        if min(clock.time(launch, 2)) >= long_enough_s:
            break
    timing = sample(launch, clock, effort)
    return Product(
        arithmetic=arithmetic, flops_per_s=2 * size**3 / timing.median_s, size=size, samples_s=timing.samples_s
    )


def _launch(size: int, device: str, arithmetic: str) -> Callable[[], object]:
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator, device=device) for _ in range(2))
    if arithmetic == "float8_e4m3fn":
        return _float8_launch(left, right)
    dtype = torch.float32 if arithmetic == "tf32" else getattr(torch, arithmetic)
    left, right = left.to(dtype), right.to(dtype)
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _float8_launch(left: Tensor, right: Tensor) -> Callable[[], object]:
    """torch's scaled product, the only one it has for float8: one scale each, the right matrix column by column."""
    scaled_product: Any = torch._scaled_mm  # noqa: SLF001
    left, right = left.to(torch.float8_e4m3fn), right.to(torch.float8_e4m3fn).t()
    one = torch.ones((), device=left.device)
    return lambda: scaled_product(left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


@contextlib.contextmanager
def _arithmetic(name: str) -> Iterator[None]:
    """float32 as such, or by TF32."""
    settings: Any = torch.backends.cuda.matmul
    before = settings.fp32_precision
    settings.fp32_precision = "tf32" if name == "tf32" else "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before


def _copy(device: str, clock: Clock, effort: Effort) -> Copy:
    kind = device.partition(":")[0]
    with torch.inference_mode():
        source = torch.rand(_COPY_BYTES[kind] // 4, device=device)
        target = torch.zeros_like(source)
        timing = sample(lambda: target.copy_(source), clock, effort)
    return Copy(
        bytes_per_s=2 * source.nbytes / timing.median_s,
        buffer_bytes=source.nbytes,
        cache_bytes=last_level_cache_bytes()
        if kind == "cpu"
        else torch.cuda.get_device_properties(device).L2_cache_size,
        samples_s=timing.samples_s,
    )


def last_level_cache_bytes() -> int | None:
    """Of the first core's largest cache; None where the system does not say."""
    sizes: list[int] = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = file.read_text(encoding="ascii").strip()
            sizes.append(int(text.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(text[-1:], 1))
    return max(sizes, default=None)
