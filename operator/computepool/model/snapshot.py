"""Everything that one pass over one pool decides on."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.model.api import ComputePool
from computepool.model.cluster import NodeInfo, Offer, Pod
from computepool.model.moves import PodMove


class Failure(msgspec.Struct, frozen=True):
    """A pod that failed at once on a node."""

    uid: str
    node: str
    owner: str
    at: float
    """When that was seen."""
    refused: bool
    """Whether the kubelet itself refused it; otherwise its containers did not start."""


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that one pass over one pool decides on; nothing else is read in the middle of a decision."""

    pool: ComputePool
    nodes: tuple[NodeInfo, ...]
    waiting: tuple[Pod, ...] = ()
    """The pool's own pods that request its accelerator and are not bound."""
    foreign: tuple[Pod, ...] = ()
    """Pods of other pools that were sent on and are not bound: they hold their places too."""
    in_flight: Mapping[str, Offer] = MappingProxyType({})
    """By pod uid: offers whose write is under way, or done and not seen yet; own and other pools'."""
    on_unknown_nodes: tuple[Pod, ...] = ()
    """The pool's own pods that are bound to nodes not seen: not yet, or no more."""
    conflicts: int = 0
    """How many pods the pool selects that an older pool keeps, waiting or bound."""
    conflicting_pool: str = ""
    """The name of that older pool; of several, the oldest."""
    stale: str = ""
    """Why the view is not current; empty while it is."""
    heartbeats: Mapping[str, float] = MappingProxyType({})
    """By node, of the whole cluster: when its Lease was last seen renewed, by our own clock."""
    listening_since: float = 0.0
    """Since when heartbeats are followed without a gap: nobody was silent before."""
    failures: tuple[Failure, ...] = ()
    """Pods that failed at once, on any node, for as long as any pool counts them."""
    moves: tuple[PodMove, ...] = ()
    """The pool's moves, for as long as their pod's dwell lasts or their eviction is under way."""
    moves_since: float = 0.0
    """Since when `moves` is complete: what another leader moved before is not in it."""
    moves_forgotten: float | None = None
    """When the latest of this process's own moves was made that are not in `moves` any more."""
