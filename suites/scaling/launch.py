"""torchrun, for one cell: ``python -m vitbench.suites.scaling.launch WORKERS CELL-AS-JSON FOLDER``.

A process of its own, which ends with its parent, as its workers end with it. Which workers it lost, and how, it leaves in
the folder: their own last words, if they had any, lie beside.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vitbench.process import die_with_parent

LOST = "lost.json"
_LOOPBACK = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """Start the workers and wait for them; 1 where one of them failed."""
    workers, cell, folder = sys.argv[1:] if argv is None else argv
    die_with_parent()
    from torch.distributed import run  # noqa: PLC0415  # seconds, and its parent may have ended by then
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    if sys.platform == "linux":  # else gloo looks for the host's name, and listens where that leads
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    try:
        run.main(
            [
                "--nnodes=1",
                f"--nproc-per-node={workers}",
                "--max-restarts=0",
                "--rdzv-backend=c10d",
                f"--rdzv-endpoint={_LOOPBACK}:0",  # a port that is free
                f"--local-addr={_LOOPBACK}",
                "--monitor-interval=0.1",
                "-m",
                "vitbench.suites.scaling.worker",
                cell,
                folder,
            ]
        )
    except ChildFailedError as error:
        lost = {rank: failure.exitcode for rank, failure in error.failures.items()}
        Path(folder, LOST).write_text(json.dumps(lost), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
