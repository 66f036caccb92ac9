"""Whether a provider fails, judged by the faults of its nodes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.health.faults import UNPROVEN_FAULTS, UPGRADE_FAULTS
from computepool.assess.health.nodes import CountedNodes, faults_among
from computepool.assess.health.silence import Silence
from computepool.assess.members import Members
from computepool.assess.signals.pool_signals import WELL, ProviderSignals
from computepool.model.accelerators import accelerators_of
from computepool.model.api import HealthSpec
from computepool.model.cluster import NodeInfo
from computepool.model.quantity import MAX_AMOUNT, MILLI
from computepool.model.reasons import Reason
from computepool.model.state import NodeFault

LIVE_SECONDS: Final = 5.0
"""How long the reading of a Lease confirms that its node is silent."""
SAMPLE: Final = 20
"""So many Leases of silent nodes are read to confirm the silence of all."""
NO_FAULTS: Mapping[str, NodeFault] = MappingProxyType({})


class ProviderHealth(msgspec.Struct, frozen=True):
    """The verdict on one provider."""

    unhealthy: Mapping[str, NodeFault] = NO_FAULTS
    """By node: the faults of its unhealthy nodes."""
    failing: Reason | None = None
    """PROVIDER_SILENT, PROVIDER_UNHEALTHY or METRIC_UNHEALTHY while it fails."""
    detail: str = ""
    """How much of it fails, for people."""
    known: bool = False
    """Whether it can be judged: a provider without nodes is neither healthy nor failing."""
    troubled: bool = False
    """Whether it would fail if the faults of this moment counted at once. Recovery is timed from the end of that."""
    starts_none: bool = False
    """Whether it is troubled by black holes alone: it starts no pods, and pods that are ready there go on."""
    confirmed: bool = False
    """Whether it fails by faults that are present, confirmed and no black holes. Then running pods leave its healthy
    nodes too."""
    joining: frozenset[str] = frozenset()
    """Names of the nodes that just join and have no accelerators yet: no part of its capacity."""
    uncounted: frozenset[str] = frozenset()
    """Names of the nodes whose accelerators can't be counted, because DRA serves them."""
    to_read: frozenset[str] = frozenset()
    """Names of silent nodes whose Leases must be read directly from the API server before the provider fails."""
    unproven: bool = False
    """Whether a signal from metrics does not show that it is well: then a canary that is ready proves nothing yet."""


class ProviderHeartbeats(msgspec.Struct, frozen=True):
    """The cluster's heartbeats, as one provider's verdict needs them."""

    last_seen: Mapping[str, float]
    """By node of the whole cluster."""
    silence: Silence
    members: Sequence[NodeInfo]
    """All of the provider's nodes, also nodes that do not count in its verdict."""
    read_live: Mapping[str, float]
    """By silent node: when its Lease was read directly from the API server."""
    now: float
    opens: bool
    """Whether a failure opens the provider's breaker, so that silence must be confirmed by Leases that were read."""

    def beat_elsewhere(self) -> bool:
        """Say whether the heartbeat of any node outside of the provider goes on."""
        names = (info.node.name for info in self.members)
        inside = sum(1 for name in names if name in self.last_seen and name not in self.silence.silent)
        return self.silence.beating > inside

    def to_read(self, silent: Collection[str]) -> frozenset[str]:
        """Return the nodes whose Leases have to be read before the silence of these nodes is confirmed.

        Many nodes are confirmed by a sample of them. Empty: they are confirmed.
        """
        unread = sorted(name for name in silent if self.read_live.get(name, -inf) < self.now - LIVE_SECONDS)
        count = min(SAMPLE, len(silent)) - (len(silent) - len(unread))
        return frozenset(unread[:: max(1, len(unread) // count)][:count]) if count > 0 else frozenset()


def provider_health(
    counted: CountedNodes,
    faults: Mapping[str, NodeFault],
    heartbeats: ProviderHeartbeats,
    resource: str,
    spec: HealthSpec,
) -> ProviderHealth:
    """Return the verdict on a provider. `faults`: by node; `resource`: the accelerator's name."""
    joining = frozenset(counted.joining)
    if not counted.unusual:
        return ProviderHealth(known=bool(counted.infos), joining=joining)
    found = faults_among(counted.unusual, faults)
    unhealthy = {name: fault for name, fault in found.items() if fault.unhealthy}
    at_present = {name: fault for name, fault in found.items() if fault.present}
    counting = {
        name: fault for name, fault in unhealthy.items() if fault.confirmed or fault.reason not in UNPROVEN_FAULTS
    }
    confirmed = {name: fault for name, fault in unhealthy.items() if fault.present and fault.confirmed}
    # A node in an upgrade, or that ends as planned, is one of the provider's unhealthy nodes, but has not failed.
    upgraded = {
        info.node.name
        for info in counted.unusual
        if info.node.unschedulable and _may_be_upgrade(found.get(info.node.name))
    }
    planned = upgraded | counted.ending
    # Nodes with a fault are left out: their accelerators count as missing only if the fault counts.
    left_out = found.keys() | counted.uncounted
    missing = sum(
        accelerators.missing
        for info in counted.unusual
        if info.node.name not in left_out
        if (accelerators := accelerators_of(info, resource)).capacity < MAX_AMOUNT
    )

    def verdict(faults: Mapping[str, NodeFault]) -> tuple[Reason | None, str]:
        return _verdict(counted, _without(faults, planned), missing, heartbeats, resource, spec)

    # Where the control plane has lost a node too, no reading has to confirm that: it has read the Lease itself. A node
    # that ends as planned does not count in the verdict, and its Lease confirms no other node's silence.
    silent = {
        info.node.name
        for info in counted.unusual
        if info.node.ready != "Unknown" and info.node.name not in planned and _is_silent(counting.get(info.node.name))
    }
    failing, detail, to_read = _confirmed_verdict(verdict, counting, silent, heartbeats)
    troubled = verdict(at_present)[0] is not None
    holes = {name for name, fault in at_present.items() if fault.reason is Reason.BLACK_HOLE}
    return ProviderHealth(
        unhealthy,
        failing,
        detail,
        known=bool(counted.infos),
        troubled=troubled,
        starts_none=troubled and bool(holes) and verdict(_without(at_present, holes))[0] is None,
        confirmed=verdict(_without(confirmed, holes))[0] is not None,
        joining=joining,
        uncounted=frozenset(counted.uncounted),
        to_read=to_read,
    )


def with_metrics(health: ProviderHealth, signals: ProviderSignals) -> ProviderHealth:
    """Return the verdict on a provider with its signals from metrics. What its nodes show comes first."""
    if not health.known or signals == WELL:
        return health
    health = msgspec.structs.replace(
        health,
        troubled=health.troubled or signals.troubled,
        starts_none=health.starts_none and not signals.troubled,
        unproven=signals.troubled or signals.unknown,
        confirmed=health.confirmed or bool(signals.unhealthy),
    )
    if not signals.unhealthy or health.failing is not None or health.to_read:
        return health
    return msgspec.structs.replace(health, failing=Reason.METRIC_UNHEALTHY, detail=signals.unhealthy)


def suspect_providers(
    members: Members, last_seen: Mapping[str, float], silence: Silence, percent: int
) -> frozenset[str]:
    """Return the providers that fail as silent if their late nodes fall silent too. `percent`: silentPercent."""
    if not silence.late:
        return frozenset()
    missed = silence.silent | silence.late
    names = {name: [info.node.name for info in infos if info.node.name in last_seen] for name, infos in members.items()}
    return frozenset(
        name
        for name, nodes in names.items()
        if _is_representative(len(nodes), len(members[name]))
        and _reaches(sum(node in missed for node in nodes), len(nodes), percent)
    )


def _confirmed_verdict(
    verdict: Callable[[Mapping[str, NodeFault]], tuple[Reason | None, str]],
    faults: Mapping[str, NodeFault],
    silent: set[str],
    heartbeats: ProviderHeartbeats,
) -> tuple[Reason | None, str, frozenset[str]]:
    """Return the verdict, and the nodes whose Leases have to be read before their silence counts in it.

    A watch may show an old state, so silence alone opens a breaker only after Leases were read directly. Nodes that are
    heard again count no longer: their silence can't be confirmed. `silent`: nodes that only their silence speaks of.
    """
    if not heartbeats.opens:
        return *verdict(faults), frozenset()
    heard = {name for name in silent if not faults[name].present}
    failing, detail = verdict(_without(faults, heard))
    to_read = heartbeats.to_read(silent - heard) if failing is not None else frozenset[str]()
    if to_read:
        failing, detail = verdict(_without(faults, silent))
    return failing, detail, to_read if failing is None else frozenset()


def _is_silent(fault: NodeFault | None) -> bool:
    return fault is not None and fault.reason is Reason.NODE_SILENT


def _may_be_upgrade(fault: NodeFault | None) -> bool:
    return fault is not None and fault.reason in UPGRADE_FAULTS


def _without(faults: Mapping[str, NodeFault], names: set[str]) -> Mapping[str, NodeFault]:
    return {name: fault for name, fault in faults.items() if name not in names} if names else faults


def _verdict(
    counted: CountedNodes,
    unhealthy: Mapping[str, NodeFault],
    missing: int,
    heartbeats: ProviderHeartbeats,
    resource: str,
    spec: HealthSpec,
) -> tuple[Reason | None, str]:
    """Say whether a provider fails with these unhealthy nodes. `missing`: accelerators missing on the other nodes."""
    if not unhealthy and not missing:
        return None, ""
    infos = counted.infos
    silent = sum(map(_is_silent, unhealthy.values()))
    if silent and heartbeats.beat_elsewhere():
        with_lease = sum(1 for info in infos if info.node.name in heartbeats.last_seen)
        if _is_representative(with_lease, len(infos)) and _reaches(silent, with_lease, spec.silent_percent):
            return Reason.PROVIDER_SILENT, f"{silent} of {with_lease} nodes have fallen silent"
    if _reaches(len(unhealthy), len(infos), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{len(unhealthy)} of {len(infos)} nodes are unhealthy"
    # A capped amount tells nothing of the node's size, and would outweigh all other nodes.
    capacity = {
        info.node.name: size
        for info in infos
        if info.node.name not in counted.uncounted
        if (size := accelerators_of(info, resource).capacity) < MAX_AMOUNT
    }
    total, lost = sum(capacity.values()), missing + sum(capacity.get(name, 0) for name in unhealthy)
    if _reaches(lost, total, spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{lost // MILLI} of {total // MILLI} accelerators are gone"
    return None, ""


def _is_representative(with_lease: int, count: int) -> bool:
    """Say whether enough nodes have a Lease to judge all of a provider's nodes by them."""
    return 2 * with_lease >= count


def _reaches(part: int, whole: int, percent: int) -> bool:
    return part > 0 and 100 * part >= percent * whole
