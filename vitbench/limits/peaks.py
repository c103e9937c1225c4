"""What makers state of their devices: dense matrix products per dtype, and memory bandwidth, each row with its source.

A device is found by the whole name that the driver gives it. Nothing is matched by a part of a name: "L40S" begins like
"L4", a slice of a GPU ("… MIG 1g.10gb") like the GPU, a laptop's like the desktop's. What is not in the table has no peak
here, and so no share of one. Makers print rates with structured sparsity first; all of these are without, half of that.
Half precision accumulates in float32, as torch's products do; GeForce cards do that at half the rate they advertise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_FLOPS_PER_S, _BYTES_PER_S = 1e12, 1e9  # datasheets give TFLOP/s and GB/s


@dataclass(frozen=True)
class Peak:
    """One device. Units: FLOP/s, bytes/s. A dtype that its matrix units do not know is not in ``flops_per_s``."""

    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    source: str  # URL of the maker's document


def peak_of(device_name: str) -> Peak | None:
    """What the maker states of the device that calls itself so; None of one that is not in the table."""
    return PEAKS.get(device_name)


def _row(
    source: str,
    gb_per_s: float,
    *,
    float32: float,
    float16: float,
    bfloat16: float | None = None,
    tf32: float | None = None,
    float8: float | None = None,
) -> Peak:
    stated = {"float32": float32, "tf32": tf32, "bfloat16": bfloat16, "float16": float16, "float8_e4m3fn": float8}
    return Peak(
        flops_per_s={dtype: value * _FLOPS_PER_S for dtype, value in stated.items() if value is not None},
        bytes_per_s=gb_per_s * _BYTES_PER_S,
        source=source,
    )


_H100 = "https://resources.nvidia.com/en-us-tensor-core/gtc22-whitepaper-hopper"  # Hopper white paper, table of H100s
_H100_SHEET = "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet"
_H200 = "https://resources.nvidia.com/en-us-data-center-overview-mc/en-us-data-center-overview/hpc-datasheet-sc23-h200"
_GH200 = "https://resources.nvidia.com/en-us-grace-cpu/grace-hopper-superchip"
_B200 = "https://resources.nvidia.com/en-us-blackwell-architecture"  # technical brief, table of HGX B200, one GPU
_A100 = "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
_A100_40 = "https://images.nvidia.com/aem-dam/en-zz/Solutions/data-center/nvidia-ampere-architecture-whitepaper.pdf"
_A30 = "https://www.nvidia.com/en-us/data-center/products/a30-gpu/"
_A40 = "https://www.nvidia.com/en-us/data-center/a40/"
_A10 = "https://www.nvidia.com/en-us/data-center/products/a10-gpu/"
_A10G = "https://d1.awsstatic.com/product-marketing/ec2/NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf"
_L4 = "https://www.nvidia.com/en-us/data-center/l4/"
_L40 = "https://www.nvidia.com/en-us/data-center/l40/"
_L40S = "https://www.nvidia.com/en-us/data-center/l40s/"
_T4 = "https://images.nvidia.com/aem-dam/en-zz/Solutions/design-visualization/technologies/turing-architecture/NVIDIA-Turing-Architecture-Whitepaper.pdf"
_V100 = "https://images.nvidia.com/content/technologies/volta/pdf/volta-v100-datasheet-update-us-1165301-r5.pdf"
_GA102 = "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.pdf"
_ADA = "https://images.nvidia.com/aem-dam/Solutions/Data-Center/l4/nvidia-ada-gpu-architecture-whitepaper-v2.1.pdf"
_BLACKWELL = "https://images.nvidia.com/aem-dam/Solutions/geforce/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf"

_A100_RATES = {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0, "float16": 312.0}
_HOPPER_SXM = {"float32": 66.9, "tf32": 494.7, "bfloat16": 989.4, "float16": 989.4, "float8": 1978.9}
_HOPPER_NVL = {"float32": 60.0, "tf32": 417.5, "bfloat16": 835.5, "float16": 835.5, "float8": 1670.5}

PEAKS: Mapping[str, Peak] = {
    "NVIDIA B200": _row(_B200, 8000, float32=80, tf32=1100, bfloat16=2250, float16=2250, float8=4500),
    "NVIDIA GH200 480GB": _row(_GH200, 4000, **_HOPPER_SXM),  # 480 GB are the processor's; the GPU has 96 GB of HBM3
    "NVIDIA GH200 144G HBM3e": _row(_GH200, 4900, **_HOPPER_SXM),
    "NVIDIA H200": _row(_H200, 4800, **_HOPPER_SXM),
    "NVIDIA H200 NVL": _row(_H200, 4800, **_HOPPER_NVL),
    "NVIDIA H100 80GB HBM3": _row(_H100, 3350, **_HOPPER_SXM),  # SXM5: the only H100 with 80 GB of HBM3
    "NVIDIA H100 PCIe": _row(_H100, 2039, float32=51.2, tf32=378, bfloat16=756, float16=756, float8=1513),
    "NVIDIA H100 NVL": _row(_H100_SHEET, 3900, **_HOPPER_NVL),
    "NVIDIA A100-SXM4-80GB": _row(_A100, 2039, **_A100_RATES),
    "NVIDIA A100 80GB PCIe": _row(_A100, 1935, **_A100_RATES),
    "NVIDIA A100-SXM4-40GB": _row(_A100_40, 1555, **_A100_RATES),
    "A100-SXM4-40GB": _row(_A100_40, 1555, **_A100_RATES),  # as drivers before 470 call it
    "NVIDIA A100-PCIE-40GB": _row(_A100_40, 1555, **_A100_RATES),
    "A100-PCIE-40GB": _row(_A100_40, 1555, **_A100_RATES),
    "NVIDIA A30": _row(_A30, 933, float32=10.3, tf32=82, bfloat16=165, float16=165),
    "NVIDIA A40": _row(_A40, 696, float32=37.4, tf32=74.8, bfloat16=149.7, float16=149.7),
    "NVIDIA A10": _row(_A10, 600, float32=31.2, tf32=62.5, bfloat16=125, float16=125),
    "NVIDIA A10G": _row(_A10G, 600, float32=35, tf32=35, bfloat16=70, float16=70),
    "NVIDIA L4": _row(_L4, 300, float32=30.3, tf32=60, bfloat16=121, float16=121, float8=242.5),
    "NVIDIA L40": _row(_L40, 864, float32=90.5, tf32=90.5, bfloat16=181.05, float16=181.05, float8=362),
    "NVIDIA L40S": _row(_L40S, 864, float32=91.6, tf32=183, bfloat16=362.05, float16=362.05, float8=733),
    "Tesla T4": _row(_T4, 320, float32=8.1, float16=65),
    "Tesla V100-SXM2-16GB": _row(_V100, 900, float32=15.7, float16=125),
    "Tesla V100-SXM2-32GB": _row(_V100, 900, float32=15.7, float16=125),
    "Tesla V100-PCIE-16GB": _row(_V100, 900, float32=14, float16=112),
    "Tesla V100-PCIE-32GB": _row(_V100, 900, float32=14, float16=112),
    "Tesla V100S-PCIE-32GB": _row(_V100, 1134, float32=16.4, float16=130),
    "NVIDIA GeForce RTX 3090": _row(_GA102, 936, float32=35.6, tf32=35.6, bfloat16=71, float16=71),
    "GeForce RTX 3090": _row(_GA102, 936, float32=35.6, tf32=35.6, bfloat16=71, float16=71),
    "NVIDIA GeForce RTX 4090": _row(_ADA, 1008, float32=82.6, tf32=82.6, bfloat16=165.2, float16=165.2, float8=330.3),
    "NVIDIA GeForce RTX 5090": _row(
        _BLACKWELL, 1792, float32=104.8, tf32=104.8, bfloat16=209.5, float16=209.5, float8=419
    ),
}
"""By the name that torch and NVML give; those of older drivers stand beside the newer ones."""
