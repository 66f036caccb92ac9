"""What a provider has: its nodes, what they hold, and what is left."""

from collections.abc import Sequence

import msgspec

from computepool.assess.targets import Target
from computepool.model.snapshot import NodeUse
from computepool.model.state import Breaker


class Supply(msgspec.Struct, frozen=True):
    """One provider's capacity in one pool's accelerator; amounts in thousandths."""

    target: Target
    nodes: tuple[NodeUse, ...]
    usable: tuple[NodeUse, ...]
    """Nodes that are Ready, not cordoned and not being deleted: the only ones that count as supply."""
    allocatable: int
    allocated: int
    """Held on usable nodes by any pod, the pool's or not."""
    free: int
    unhealthy: int
    """Capacity that can't be used: on unusable nodes, or reported by the node as not allocatable."""
    pods: int
    """The pool's own pods bound to its nodes."""
    accelerators: int
    """What those pods hold."""
    breaker: Breaker = Breaker()
    sick: frozenset[str] = frozenset()
    """Names of its nodes that count as sick."""

    @property
    def known(self) -> bool:
        """Whether its capacity can be told: no node at all is no answer, unless nodes are made on demand."""
        return bool(self.nodes) or self.target.on_demand


def supplies_of(
    nodes: Sequence[NodeUse], targets: Sequence[Target], pool: str, resource: str
) -> tuple[tuple[Supply, ...], int]:
    """Return the supply of each target, in order, and how many nodes match more than one of them.

    A node that matches several providers counts for the first.
    """
    members: list[list[NodeUse]] = [[] for _ in targets]
    doubles = 0
    for use in nodes:
        matching = [t.index for t in targets if t.selector.matches(use.node.labels)]
        if matching:
            members[matching[0]].append(use)
            doubles += len(matching) > 1
    return tuple(_supply(t, members[t.index], pool, resource) for t in targets), doubles


def _supply(target: Target, members: list[NodeUse], pool: str, resource: str) -> Supply:
    usable = tuple(use for use in members if use.node.usable)
    allocatable = sum(use.node.allocatable.get(resource, 0) for use in usable)
    capacity = sum(_capacity(use, resource) for use in members)
    shares = [share for use in members if (share := use.shares.get(pool)) is not None]
    return Supply(
        target=target,
        nodes=tuple(members),
        usable=usable,
        allocatable=allocatable,
        allocated=sum(use.used.get(resource, 0) for use in usable),
        free=sum(use.free(resource) for use in usable),
        unhealthy=max(0, capacity - allocatable),
        pods=sum(len(share.members) for share in shares),
        accelerators=sum(share.accelerators for share in shares),
    )


def _capacity(use: NodeUse, resource: str) -> int:
    return max(use.node.capacity.get(resource, 0), use.node.allocatable.get(resource, 0))
