"""How a suggested pool selects the nodes of a provider, and how kubectl's commands name these nodes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from computepool.audit.node_labels import NODE_GROUP, REGION
from computepool.audit.providers import VIRTUAL, FoundProvider
from computepool.model.api import PROVIDER_KEY
from computepool.model.cluster import Node

NODES_IN_A_COMMAND: Final = 50
MOST_VALUES: Final = 16
_LASTING: Final = (PROVIDER_KEY, *VIRTUAL, "eks.amazonaws.com/compute-type", *NODE_GROUP, *REGION)
"""Labels that tell providers apart for good, the best first. Any other label may change, such as a kernel's version, or
come to other nodes, such as a team's name."""
_NEVER: Final = frozenset({"kubernetes.io/hostname", "kubernetes.io/os", "beta.kubernetes.io/os"})


class Selection(msgspec.Struct, frozen=True):
    """How the nodes of one provider are selected."""

    selector: Mapping[str, object]
    """As a pool's nodeSelector."""
    flag: str = ""
    """The same as kubectl's --selector. Empty if it selects further nodes of the provider, without the accelerator."""
    commands: tuple[str, ...] = ()
    """Commands that label the nodes first."""


def select(provider: FoundProvider, own: Sequence[Node], rest: Sequence[Node], outside: Sequence[Node]) -> Selection:
    """Choose a label that no node of another provider has.

    `own`: the provider's nodes with the accelerator; `rest`: its other nodes; `outside`: the nodes of other providers.
    A label that the other nodes of the provider lack comes first: then one selector names the nodes in a command too.
    """
    keys = [key for key in (*provider.keys, *_LASTING) if key not in _NEVER]
    others = (*rest, *outside)
    if (found := _by_label(keys, own, others)) is not None:
        return Selection(*found)
    if (found := _by_label(keys, own, outside)) is not None:
        return Selection(found[0])
    label = f"{PROVIDER_KEY}={provider.name}"
    alone = all(node.labels.get(PROVIDER_KEY) != provider.name for node in others)
    unlabelled = [node for node in own if node.labels.get(PROVIDER_KEY) != provider.name]
    return Selection(
        {"matchLabels": {PROVIDER_KEY: provider.name}},
        label if alone else "",
        tuple(by_name("label", unlabelled, label)),
    )


def by_name(verb: str, nodes: Sequence[Node], change: str) -> Iterator[str]:
    """Yield kubectl's commands that change these nodes, so many nodes in each command that a shell takes it."""
    names = [node.name for node in nodes]
    for at in range(0, len(names), NODES_IN_A_COMMAND):
        yield f"kubectl {verb} nodes {' '.join(names[at : at + NODES_IN_A_COMMAND])} {change}"


def _by_label(
    keys: Iterable[str], own: Sequence[Node], others: Sequence[Node]
) -> tuple[Mapping[str, object], str] | None:
    """Return a selector of the provider's nodes alone, and the same as kubectl writes it; the fewest values first."""
    found = []
    for key in keys:
        values = sorted({node.labels.get(key, "") for node in own})
        if not all(values) or len(values) > MOST_VALUES or any(node.labels.get(key) in values for node in others):
            continue
        if len(values) == 1:
            return {"matchLabels": {key: values[0]}}, f"{key}={values[0]}"
        expression = {"key": key, "operator": "In", "values": values}
        found.append(({"matchExpressions": [expression]}, f"{key} in ({', '.join(values)})"))
    return found[0] if found else None
