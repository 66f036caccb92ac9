"""The input of one pass over one pool."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.model.api import ComputePool
from computepool.model.cluster import NodeInfo, Offer, Pod, RefusedOffer, Shape
from computepool.model.demand import Points
from computepool.model.labels import Labels
from computepool.model.moves import PodMove
from computepool.model.signals import SignalData

NO_LABELS: Labels = MappingProxyType({})


class Failure(msgspec.Struct, frozen=True):
    """A pod that failed on a node before it ran there, or whose containers do not start there."""

    uid: str
    node: str
    owner: str
    at: float
    """When the failure was seen. A pod that still fails fails now."""
    refused: bool
    """Whether the kubelet refused it; otherwise its containers did not start."""
    began: float = 0.0
    """When it began to fail; 0 if that is `at`."""
    unclear: bool = False
    """Whether the reason of the refusal may lie in the pod: a virtual kubelet has one reason for everything."""
    shape: Shape | None = None
    """The pod's shape; None if it is not known."""
    labels: Labels = NO_LABELS
    """The pod's labels."""


class Selection(msgspec.Struct, frozen=True):
    """What the selectors of a pool without pods match, whatever the pods request."""

    namespaces: bool = True
    """Whether any namespace matches."""
    pods: bool = False
    """Whether any pod in these namespaces matches."""
    requested: tuple[str, ...] = ()
    """The extended resources that these pods request, sorted."""


class Snapshot(msgspec.Struct, frozen=True):
    """The whole input of one pass over one pool: no decision reads anything else of the cluster."""

    pool: ComputePool
    nodes: tuple[NodeInfo, ...]
    waiting: tuple[Pod, ...] = ()
    """The pool's own pods that request its accelerator and are not bound."""
    foreign: tuple[Pod, ...] = ()
    """Pods of other pools that were sent to a standby and are not bound: they hold places too."""
    in_flight: Mapping[str, Offer] = MappingProxyType({})
    """By uid of pending pods, of all pools: offers whose write is under way, or made but not seen yet."""
    refused_offers: Mapping[str, tuple[RefusedOffer, ...]] = MappingProxyType({})
    """By uid of the pool's own waiting pods: offers whose write the API server has refused lately, one a provider."""
    on_unknown_nodes: tuple[Pod, ...] = ()
    """The pool's own pods that are bound to nodes that are not seen yet, or no longer."""
    selection: Selection | None = None
    """What the selectors of the pool match although the pool has no pods; None if it has pods, or if not known."""
    conflicts: int = 0
    """The number of pods, waiting or bound, that the pool selects and an older pool keeps."""
    conflicting_pool: str = ""
    """The name of that older pool; the oldest if there are several."""
    stale: str = ""
    """Why the view is not current; empty while it is current."""
    heartbeats: Mapping[str, float] = MappingProxyType({})
    """By node of the whole cluster: when its Lease was last seen renewed, by the operator's own clock."""
    listening_since: float = 0.0
    """Since when heartbeats are received without a gap: silence is counted from then at the earliest."""
    heartbeat_interval: float | None = None
    """Seconds between two heartbeats of a node: as they were seen, or as Leases let expect. None without Leases."""
    read_live: Mapping[str, float] = MappingProxyType({})
    """By node: when its Lease was read directly from the API server, and had not been renewed since `heartbeats`."""
    failures: tuple[Failure, ...] = ()
    """Pods that failed at once, on any node, for as long as any pool counts them."""
    crashes: tuple[Failure, ...] = ()
    """Pods that ran for a moment or never, on any node, and ended as Failed, for some minutes: these tell nothing about
    a node."""
    signals: Mapping[str, SignalData] = MappingProxyType({})
    """By key of a signal from metrics: what its source answered. A key that is missing has no data."""
    past_demand: Points = ()
    """What the source of metrics knows of the demand on the primary before this process led."""
    schedulers: frozenset[str] = frozenset()
    """Schedulers, besides Kubernetes' own, that have bound a pod or judged a pod unschedulable, as far as was seen."""
    moves: tuple[PodMove, ...] = ()
    """The pool's moves, for as long as their pod's dwell lasts or their eviction is under way."""
    moves_since: float = 0.0
    """Since when `moves` is complete: moves of an earlier leader are not in it."""
    moves_forgotten: float | None = None
    """The time of the newest move of this process that is no longer in `moves`; None if all are there."""
