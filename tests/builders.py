"""Builders of pools, nodes, pods and snapshots: plain words in, frozen records out, sensible defaults for the rest.

    inference = pool(provider("aws"), provider("nebius", max_accelerators=8))
    seen = snapshot(inference, [node("a1"), node("n1")], [pod("web-1", 8, on="a1"), pod("web-2", 8)])

Amounts are whole devices, times are seconds; `NOW` is the time of day at which everything has been waiting for a
minute. Providers are told apart by the node label `computepool.io/provider`, and all but the first are tainted with it.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from types import MappingProxyType
from typing import Any

import msgspec

from computepool.model.accelerators import request_of, share_of
from computepool.model.api import PROVIDER_KEY, UNAVAILABLE_KEY, ComputePool
from computepool.model.cluster import NO_SHARES, Node, NodeInfo, Offer, Pod, Shape, node_info
from computepool.model.labels import Requirement, Term
from computepool.model.moves import MoveKind, PodMove, Request
from computepool.model.quantity import MILLI
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, BreakerTimers, Fitting, Memory, PoolState, Recorded, Saturation
from computepool.model.taints import Taint, Toleration
from computepool.model.well_known_keys import BURST_LABEL
from computepool.observe.decode import Namespace
from computepool.observe.replacements import follow

GPU = "nvidia.com/gpu"
NOW = 1_800_000_000.0
MINUTE = 60.0
POOL = "inference"

_versions = itertools.count(1000)
_shapes: dict[Shape, Shape] = {}


# -- the pool


def provider(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, Any]] = (),
    on_demand: bool = False,
    max_accelerators: int | None = None,
    timeout: int | None = None,
    price: str | None = None,
    drain: bool | None = None,
    drain_running_pods: str | None = None,
) -> dict[str, Any]:
    """One entry of spec.providers."""
    capacity = {"type": "OnDemand" if on_demand else "Standing", "maxAccelerators": max_accelerators}
    entry = {
        "name": name,
        "nodeSelector": {"matchLabels": dict(labels or {PROVIDER_KEY: name})},
        "tolerations": list(tolerations),
        "capacity": {key: value for key, value in capacity.items() if value is not None},
        "provisionTimeoutSeconds": timeout,
        "pricePerAcceleratorHour": price,
        "drain": drain,
        "drainRunningPods": drain_running_pods,
    }
    return {key: value for key, value in entry.items() if value is not None}


def pool(
    *providers: dict[str, Any],
    name: str = POOL,
    uid: str = "",
    created: float = NOW - 1000 * MINUTE,
    status: Mapping[str, Any] | None = None,
    pending: int = 5,
    sustain: int = 30,
    clear: int = 120,
    enter: int = 95,
    leave: int = 80,
    admission: str = "WhenSaturated",
    metrics: Sequence[Mapping[str, Any]] = (),
    **spec: Any,
) -> ComputePool:
    """A pool of these providers (aws, nebius and crusoe unless told); `spec` has further fields in camelCase."""
    return ComputePool.from_object(
        {
            "metadata": {
                "name": name,
                "uid": uid or f"uid-{name}",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": datetime.fromtimestamp(created, UTC).isoformat(),
            },
            "spec": {
                "accelerator": {"resourceName": GPU},
                "providers": list(providers or (provider("aws"), provider("nebius"), provider("crusoe"))),
                "saturation": {
                    "pendingSeconds": pending,
                    "sustainSeconds": sustain,
                    "clearSeconds": clear,
                    "allocation": {"enterPercent": enter, "exitPercent": leave},
                    "metrics": list(metrics),
                },
                "admission": {"mode": admission},
                **spec,
            },
            "status": dict(status or {}),
        }
    )


# -- nodes and pods


def node(
    name: str,
    gpus: int = 8,
    *,
    of: str | None = None,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Taint] | None = None,
    tainted: bool | None = None,
    room: Mapping[str, int] | None = None,
    capacity: int | None = None,
    ready: str = "True",
    cordoned: bool = False,
    deleting: bool = False,
    conditions: Mapping[str, str] | None = None,
    quarantine: str | None = None,
    created: float = NOW - 1000 * MINUTE,
) -> Node:
    """A node of the provider `of`: if not told, that with its first letter of aws, nebius and crusoe.

    `tainted` defaults to whether that is another than aws; `room`: more resources; `quarantine`: the value of the
    operator's taint.
    """
    of = of or {"n": "nebius", "c": "crusoe"}.get(name[0], "aws")
    own = [standby_taint(of)] if (of != "aws" if tainted is None else tainted) else []
    kept_away = [] if quarantine is None else [Taint(UNAVAILABLE_KEY, quarantine, "NoSchedule")]
    amounts = {GPU: gpus, "pods": 110, "cpu": 64, **(room or {})}
    allocatable = {key: amount * MILLI for key, amount in amounts.items()}
    return Node(
        name=name,
        resource_version=next(_versions),
        labels={PROVIDER_KEY: of, "kubernetes.io/hostname": name, **(labels or {})},
        allocatable=allocatable,
        capacity={**allocatable, GPU: (gpus if capacity is None else capacity) * MILLI},
        taints=(*own, *kept_away, *(taints or ())),
        ready=ready,
        unschedulable=cordoned,
        deleting=deleting,
        conditions=tuple(sorted((conditions or {}).items())),
        created=created,
    )


def standby_taint(of: str) -> Taint:
    """The taint that a standby provider's nodes carry by default."""
    return Taint(PROVIDER_KEY, of, "NoSchedule")


def standby_toleration(of: str) -> Toleration:
    """The toleration that the operator adds for a standby provider by default."""
    return Toleration(PROVIDER_KEY, "Equal", of, "NoSchedule")


def shape(
    gpus: int = 1,
    *,
    resource: str = GPU,
    selector: Mapping[str, str] | None = None,
    affinity: Sequence[Term] | None = None,
    tolerations: Sequence[Toleration] = (),
    more: Mapping[str, int] | None = None,
    unmodelled: Sequence[str] = (),
    scheduler: str = "",
) -> Shape:
    """What a pod asks of a node. `more`: other resources, in whole units. Equal shapes are one, as in the store."""
    amounts = {resource: gpus, "pods": 1, **(more or {})}
    made = Shape(
        requests=tuple(sorted((key, amount * MILLI) for key, amount in amounts.items() if amount)),
        node_selector=tuple(sorted((selector or {}).items())),
        affinity=None if affinity is None else tuple(affinity),
        tolerations=tuple(tolerations),
        unmodelled=tuple(unmodelled),
        scheduler=scheduler,
    )
    return _shapes.setdefault(made, made)


def term(*expressions: Requirement, name: str | None = None) -> Term:
    """A node selector term; `name` pins to a node by metadata.name."""
    fields = () if name is None else (Requirement("metadata.name", "In", (name,)),)
    return Term(tuple(expressions), fields)


def pod(
    name: str,
    gpus: int = 1,
    *,
    on: str = "",
    sent: Sequence[tuple[str, float]] = (),
    burst: str | None = None,
    tolerates: Sequence[str] = (),
    waited: float = MINUTE,
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
    shaped: Shape | None = None,
    **fields: Any,
) -> Pod:
    """A pod. `on`: the node it is bound to; `sent`: offers (provider, time), the last of which its label names.

    `tolerates` adds the default tolerations of these providers, `waited` is since when it waits before NOW; `fields`
    are further fields of the record.
    """
    offers = tuple(Offer(to, at) for to, at in sent)
    label = offers[-1].provider if offers and burst is None else burst
    base = shaped or shape(gpus)
    extra = tuple(standby_toleration(to) for to in (*(offer.provider for offer in offers), *tolerates))
    return Pod(
        uid=fields.pop("uid", f"uid-{namespace}-{name}"),
        namespace=namespace,
        name=name,
        resource_version=fields.pop("resource_version", next(_versions)),
        shape=with_tolerations(base, *extra),
        labels={**(labels or {}), **({BURST_LABEL: label} if label else {})},
        created=fields.pop("created", NOW - waited),
        since=fields.pop("since", NOW - waited),
        node=on,
        offers=offers,
        **fields,
    )


def with_tolerations(base: Shape, *tolerations: Toleration) -> Shape:
    """The shape, tolerating more."""
    made = msgspec.structs.replace(base, tolerations=(*base.tolerations, *tolerations))
    return _shapes.setdefault(made, made)


def namespace(name: str = "default", **labels: str) -> Namespace:
    """A namespace with its labels."""
    return Namespace(name, next(_versions), {"kubernetes.io/metadata.name": name, **labels})


# -- what a pass decides on


def infos(nodes: Iterable[Node], pods: Sequence[Pod], owner: str = POOL, resource: str = GPU) -> tuple[NodeInfo, ...]:
    """The nodes with what is bound to them; pods that request the resource count as the pool's."""
    made = []
    for one in nodes:
        bound = [p for p in pods if p.node == one.name]
        own = [p for p in bound if request_of(p, resource)]
        shares = {owner: share_of(own, resource)} if own else NO_SHARES
        nominated = [p for p in pods if not p.node and p.nominated == one.name]
        made.append(node_info(one, bound, nominated, shares))
    return tuple(made)


def _appeared(one: Pod, begun: Sequence[float]) -> Pod:
    """A pod that has appeared when it was created, told by when moves were begun."""
    return msgspec.structs.replace(one, appeared=bisect_right(begun, one.created))


def pod_move(
    one: Pod,
    to: str,
    *,
    at: float,
    source: str = "",
    kind: MoveKind = MoveKind.FAILOVER,
    refused_since: float | None = None,
    request: Request | None = None,
    order: int = 0,
) -> PodMove:
    """A move that was let go, unless it is told that it is refused or what became of its request."""
    became = request or (Request.LET_GO if refused_since is None else Request.REFUSED)
    return PodMove(one, source, to, kind, at, request=became, refused_since=refused_since, order=order)


def snapshot(
    of: ComputePool, nodes: Sequence[Node] = (), pods: Sequence[Pod] = (), *, at: float = NOW, **fields: Any
) -> Snapshot:
    """What a pass over the pool sees: pods bound to these nodes, and waiting ones. `fields`: further ones of it.

    Where no order is told of moves, it is that of their times, and pods have appeared when they were created. What is
    seen of the moves by `at` is worked out as the store does it. Where nothing is told of Leases that were read
    directly, all of them were, and showed nothing new.
    """
    moves: Sequence[PodMove] = fields.get("moves", ())
    if moves and not any(move.order for move in moves):
        begun = sorted(move.at for move in moves)
        moves = [
            msgspec.structs.replace(move, order=bisect_left(begun, move.at) + 1, pod=_appeared(move.pod, begun))
            for move in moves
        ]
        pods = [_appeared(one, begun) for one in pods]
    fields.setdefault("read_live", dict.fromkeys(fields.get("heartbeats", {}), inf))
    if moves:
        fields["moves"] = tuple(_followed(of, nodes, pods, moves, at))
    return Snapshot(
        pool=of,
        nodes=infos(nodes, pods, of.name, of.spec.accelerator.resource_name),
        waiting=tuple(p for p in pods if not p.node),
        **fields,
    )


UNTOLD = Saturation()


def pool_state(
    saturation: Saturation = UNTOLD,
    fitting: Fitting = MappingProxyType({}),
    admitting: str = "",
    *,
    breakers: Mapping[str, Breaker | tuple[Breaker, BreakerTimers]] = MappingProxyType({}),
    **fields: Any,
) -> PoolState:
    """What the pass before has left, each part in its place. `breakers`: with their timers where these run."""
    timed = {name: one for name, one in breakers.items() if isinstance(one, tuple)}
    names = ("spend", "recent_moves", "unsettled", "hold_offs", "held_by")
    recorded = {name: fields.pop(name) for name in names if name in fields}
    return PoolState(
        Recorded(
            saturation.saturated,
            admitting,
            breakers={name: one[0] if isinstance(one, tuple) else one for name, one in breakers.items()},
            **recorded,
        ),
        Memory(
            saturation.pressure_since,
            saturation.relief_since,
            fitting,
            breaker_timers={name: timers for name, (_, timers) in timed.items()},
            **fields,
        ),
    )


def changed(state: PoolState, **fields: Any) -> PoolState:
    """The same state with these fields changed, in whichever part they are."""
    recorded = {name: value for name, value in fields.items() if name in Recorded.__struct_fields__}
    memory = {name: value for name, value in fields.items() if name not in recorded}
    return PoolState(
        msgspec.structs.replace(state.recorded, **recorded), msgspec.structs.replace(state.memory, **memory)
    )


def _followed(
    of: ComputePool, nodes: Sequence[Node], pods: Sequence[Pod], moves: Sequence[PodMove], at: float
) -> list[PodMove]:
    """The moves, with what is seen of them."""
    labels = {one.name: one.labels for one in nodes}
    selectors = {entry.name: entry.node_selector.compiled() for entry in of.spec.providers}

    def provider_of(one: Pod) -> str | None:
        found = labels.get(one.node)
        if found is None:
            return None
        return next((name for name, selector in selectors.items() if selector.matches(found)), "")

    return follow(moves, lambda: pods, {one.uid: one for one in pods}.get, provider_of, at)
