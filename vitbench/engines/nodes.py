"""The nodes of a cluster side by side: which of them are alike, what they have in common, and who may not take part.

Records name a node by the first letters of the id that Ray drew for it, which its owner finds in ``ray list nodes``, and
which tells nobody else anything. Messages on the terminal add its address.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vitbench.machine_key import NODES, key
from vitbench.wording import plural

_SHORTEST_NAME, _SHORTEST_KIND = 6, 4
_OF_THE_RUN = ("candidates",)  # facts of the code that is run, not of the node


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a cluster, as far as Ray counts it."""

    id: str  # drawn by Ray, in hexadecimal
    address: str
    cpus: float
    gpus: int = 0

    @property
    def told(self) -> str:
        """For messages."""
        return f"node {self.id[:_SHORTEST_NAME]} ({self.address})"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Nodes that were looked at, and may run cells."""

    nodes: Sequence[Node]
    environments: Mapping[str, Mapping[str, Any]]  # by id
    kinds: Mapping[str, str] = field(default_factory=dict)  # by id; the same for nodes whose times compare

    @property
    def unlike(self) -> bool:
        """Whether there are several kinds."""
        return len(set(self.kinds.values())) > 1

    @property
    def names(self) -> Mapping[str, str]:
        """By id: what records call each node, its kind first where there are several."""
        short = _distinct([node.id for node in self.nodes], _SHORTEST_NAME)
        return {id_: f"{self.kinds[id_]}-{name}" if self.unlike else name for id_, name in short.items()}

    def environment(self) -> dict[str, Any]:
        """What all nodes have in common; what differs between kinds by kind, within a kind side by side."""
        names = dict.fromkeys(name for one in self.environments.values() for name in one)
        of_kinds = {kind: self._of_kind(kind, names) for kind in sorted(set(self.kinds.values()))}
        first = next(iter(of_kinds.values()))
        same = {name for name in names if all(facts[name] == first[name] for facts in of_kinds.values())}
        common = {name: first[name] for name in names if name in same}
        differing = {
            kind: {name: facts[name] for name in names if name not in same} for kind, facts in of_kinds.items()
        }
        return {**common, **({NODES: differing} if self.unlike else {})}

    def _of_kind(self, kind: str, names: Iterable[str]) -> dict[str, Any]:
        alike = [self.environments[node.id] for node in self.nodes if self.kinds[node.id] == kind]
        return {name: _together([one.get(name) for one in alike]) for name in names}

    def differences(self) -> list[str]:
        """In what the kinds differ, each with the nodes of either, as ``cores: 4 on node 1f…, 8 on node 77… and 1 more``."""
        keys = {node.id: key(self.environments[node.id]) for node in self.nodes}
        named = [name for name in keys[self.nodes[0].id] if len({one[name] for one in keys.values()}) > 1]
        return [f"{name}: {by_value({node.told: keys[node.id][name] for node in self.nodes})}" for name in named]


def cluster(nodes: Sequence[Node], environments: Mapping[str, Mapping[str, Any]]) -> Cluster:
    """The nodes, told apart by what makes times incomparable."""
    keys = {node.id: json.dumps(key(environments[node.id]), sort_keys=True) for node in nodes}
    digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in keys.values()}
    short = _distinct(list(digests.values()), _SHORTEST_KIND)
    return Cluster(
        nodes=nodes, environments=environments, kinds={id_: short[digests[text]] for id_, text in keys.items()}
    )


def _distinct(long: Sequence[str], least: int) -> dict[str, str]:
    """Each text cut to a length at which they still differ."""
    length = least
    while len({text[:length] for text in long}) < len(set(long)):
        length += 1
    return {text: text[:length] for text in long}


def _together(values: Sequence[Any]) -> Any:
    """The value that all have; else all of them as a text."""
    texts = dict.fromkeys(json.dumps(value, sort_keys=True) for value in values)
    if len(texts) == 1:
        return values[0]
    return " | ".join(sorted(str(json.loads(text)) for text in texts))


def by_value(of_nodes: Mapping[str, str]) -> str:
    """Who has which: ``2.14.1 on node 1f… and 3 more, 2.13.0 on node 77…``."""
    having: dict[str, list[str]] = {}
    for who, value in of_nodes.items():
        having.setdefault(value, []).append(who)
    return ", ".join(f"{value} {_who(whom)}" for value, whom in having.items())


def _who(whom: Sequence[str]) -> str:
    first = whom[0] if whom[0] == HERE else f"on {whom[0]}"
    return first if len(whom) == 1 else f"{first} and {len(whom) - 1} more"


HERE = "here"
"""The machine on which a run was started."""
NOT_INSTALLED = "not installed"


def other_versions(versions: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Of what there are several versions, with who has which; by ``HERE`` or what a node is called in messages."""
    names = dict.fromkeys(name for of_one in versions.values() for name in of_one)
    found = []
    for name in names:
        of_nodes = {who: of_one[name] for who, of_one in versions.items() if name in of_one}
        if len(set(of_nodes.values())) > 1:
            found.append(f"{name}: {by_value(of_nodes)}")
    return found


def without_facts_of_the_run(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What an environment says of the node alone."""
    return {name: value for name, value in environment.items() if name not in _OF_THE_RUN}


def in_words(nodes: Sequence[Node]) -> str:
    """How many, and what they have."""
    gpus = sum(node.gpus for node in nodes)
    beside = f" and {plural(gpus, 'GPU')}" if gpus else ""
    return f"{plural(len(nodes), 'node')} with {sum(node.cpus for node in nodes):g} CPUs{beside}"
