"""Which devices there are to run on."""

import os
import re

from vitbench.errors import DeviceUnavailable, UsageError


def require_device(device: str) -> None:
    """Check that a device can be used here. Imports torch for CUDA devices only.

    Raises:
        UsageError: no name of a device.
        DeviceUnavailable: no such device on this machine; the text lists those there are.
    """
    match = re.fullmatch(r"cpu|cuda(:(?P<index>\d+))?", device)
    if match is None:
        raise UsageError(f"device {device!r} is unknown; use cpu or cuda:N")
    if device == "cpu":
        return
    import torch  # noqa: PLC0415  # a second; not for a CPU run's command line

    if not torch.cuda.is_available():
        raise DeviceUnavailable(
            f"{device} was asked for, but torch {torch.__version__} sees no CUDA device here; "
            "run on the CPU by leaving the option out"
        )
    count, index = torch.cuda.device_count(), int(match["index"] or 0)
    if index >= count:
        names = ", ".join(f"{i} = {torch.cuda.get_device_name(i)}" for i in range(count))
        raise DeviceUnavailable(f"there is no GPU {index}; this machine has {names}")


def of_this_process(device: str) -> str:
    """The device of one of pytest-xdist's workers: with ``cuda``, which leaves the choice, a GPU each, in turn."""
    worker = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    if device != "cuda" or worker is None:
        return device
    import torch  # noqa: PLC0415  # as above

    return f"cuda:{int(worker[1]) % torch.cuda.device_count()}"
