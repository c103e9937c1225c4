"""One message for what cannot be inferred: what was understood, what was not, and an adapter to go on from."""

from dataclasses import dataclass

from vitbench.inference.alignment import Alignment
from vitbench.inference.sketch import Sketch

_SHOWN = 6


class ReachesOut(BaseException):
    """The class opened a connection while it was built. No ``Exception``, so that nobody's retry swallows it."""


@dataclass(frozen=True, kw_only=True)
class Understanding:
    """How far it came."""

    sketch: Sketch
    unknown: tuple[str, ...] = ()  # required arguments
    missing: tuple[str, ...] = ()  # sizes without an argument
    error: str = ""
    question: str = ""  # what it came to and could not answer
    alignment: Alignment | None = None


def refusal(found: Understanding) -> str:
    """The message."""
    source = found.sketch.source
    lines = [f"{source.impl} is no adapter, and none could be inferred for it"]
    understood = [f"{name} = {value}" for name, value in found.sketch.construction.arguments.items()]
    lines.append(f"  understood:     {', '.join(understood) or 'nothing of its arguments'}")
    if found.alignment is not None:
        lines.append(f"                  the places of {len(found.alignment.parts)} tensors or their series")
    lines += [f"  not understood: {reason}" for reason in _reasons(found)]
    lines += ["  Say it in an adapter (docs/adapters.md), for example in adapter.py, for --impl adapter.py:", ""]
    return "\n".join([*lines, skeleton(found)])


def _reasons(found: Understanding) -> list[str]:
    reasons = []
    if found.unknown:
        reasons.append(f"what to give for {', '.join(found.unknown)}")
    if found.missing:
        reasons.append(f"which argument is {', '.join(found.missing)}")
    if found.question:
        reasons.append(found.question)
    if found.error:
        reasons.append(f"how to build it: {found.error}")
    if found.alignment is not None and not found.question:
        reasons += _unaligned(found.alignment)
    return reasons or ["how to build it"]


def _unaligned(alignment: Alignment) -> list[str]:
    reasons = []
    if alignment.unplaced:
        more = f" and {len(alignment.unplaced) - _SHOWN} more" if len(alignment.unplaced) > _SHOWN else ""
        reasons.append(f"what these tensors are: {', '.join(alignment.unplaced[:_SHOWN])}{more}")
    if alignment.absent:
        reasons.append(f"where it has {', '.join(alignment.absent)}")
    return reasons


def skeleton(found: Understanding) -> str:
    """An adapter with what is known filled in."""
    source = found.sketch.source
    name = source.attribute.split(".")[0]
    arguments = [f"{argument}={value}" for argument, value in found.sketch.construction.arguments.items()]
    arguments += [f"{argument}=..." for argument in found.unknown]
    holder = found.sketch.construction.holder
    called, also = f"{source.attribute}({', '.join(arguments)})", ""
    if holder is not None:
        called = f"{source.attribute}({holder.attribute}({', '.join(arguments)}))"
        also = f"\n    from {holder.module} import {holder.attribute}"
    return f"""    from {source.module} import {name}{also}
    from vitbench.adapter import Adapter, Conventions, NotSupported
    from vitbench.adapters.mapping import side


    class MyAdapter(Adapter):
        name, version = "{source.label}", "unknown"
        conventions = Conventions(layer_norm_eps=1e-6)  # what it chooses where the paper leaves a choice

        def build(self, config):  # raise NotSupported(reason) for what it cannot do
            return {called}

        def load(self, model, state):  # state: the canonical weights by name
            model.load_state_dict({{my_name(name): tensor for name, tensor in state.items()}})
"""
