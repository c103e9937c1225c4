"""The options that say on how many machines a run goes on, and which of them fit together."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from vitbench.errors import UsageError

LOCAL, RAY = "local", "ray"


def add(to: Callable[..., Any]) -> None:
    """Which engine, and what a cluster needs; ``to`` is argparse's ``add_argument``."""
    to(
        "--engine",
        choices=(LOCAL, RAY),
        default=LOCAL,
        help="what runs the cells: local, this machine; ray, the nodes of a Ray cluster, whose timed cells have a GPU or "
        "a node for themselves (docs/engines.md; pip install 'vitbench[ray]') (default: local)",
    )
    to(
        "--ray-address",
        metavar="HOST:PORT",
        help="of the head of a cluster that runs, or auto for the one that this machine belongs to (default: a "
        "cluster of this machine alone, for this run)",
    )
    to(
        "--unlike-nodes",
        action="store_true",
        help="time cells on nodes that are not alike, which is refused otherwise; figures of one kind of nodes are "
        "shown apart from those of another",
    )


def without_address(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the address of a cluster replaced: it is nobody else's business."""
    name = "--ray-address"
    follows = [False, *(word == name for word in words)]
    shown = [word if not word.startswith(f"{name}=") else f"{name}=…" for word in words]
    return ["…" if after and word != _AUTO else word for after, word in zip(follows, shown, strict=False)]


_AUTO = "auto"


def require_consistent(given: argparse.Namespace) -> None:
    """What only a cluster has is for the engine that has one, and what a cluster has not is not for that engine.

    Raises:
        UsageError: an option that the engine cannot obey.
    """
    if given.engine != RAY:
        for option, value in (("--ray-address", given.ray_address), ("--unlike-nodes", given.unlike_nodes)):
            if value:
                raise UsageError(f"{option} is for --engine {RAY}; add it, or leave {option} out")
        return
    if given.gpu:
        raise UsageError(
            f"--gpu {given.gpu}: with --engine {RAY} each cell has a GPU of its own, which is number 0 to it; use --gpu 0"
        )
    if given.profile:
        raise UsageError(
            f"--profile writes traces on the node that makes them, and --engine {RAY} does not bring them back; "
            "profile with --engine local"
        )
