"""What is wrong with nodes and providers, and since when.

Invariant 4: what can't be told is neither well nor failing. A provider without nodes, a node without a heartbeat, a
view that is not current make nothing fail; where all heartbeats stop at once, every verdict stands as it was.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.assess.health.black_holes import black_holes
from computepool.assess.health.faults import (
    JOINING_FAULTS,
    NODE_FAULTS,
    UPGRADE_FAULTS,
    FastPath,
    Rules,
    fault_of,
    leaving,
    rules_of,
)
from computepool.assess.health.hysteresis import Times, due, held, node_fault_of, quarantined_before
from computepool.assess.health.silence import Silence, silence_of
from computepool.assess.times import soonest
from computepool.model.accelerators import accelerators_of
from computepool.model.api import Health as HealthSpec
from computepool.model.cluster import Node, NodeInfo
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, NodeFault, PoolState

DOUBT_SECONDS = 1.0
"""Between looks while a provider may be about to fall silent."""
SOON_SECONDS = 1.0
"""One who hears somebody fall silent says so once; by a clock that is put right meanwhile it is not so yet."""
RECHECK_SECONDS = 5.0
"""Between looks while a node is silent: that it is heard again shows in no change."""
NOT_SICK: Mapping[str, NodeFault] = MappingProxyType({})
Members = Mapping[str, Sequence[NodeInfo]]
"""By provider: its nodes."""


class ProviderHealth(msgspec.Struct, frozen=True):
    """The verdict on one provider."""

    unhealthy: Mapping[str, NodeFault] = NOT_SICK
    """By node: those that count as sick."""
    failing: Reason | None = None
    """PROVIDER_SILENT or PROVIDER_UNHEALTHY while it fails."""
    detail: str = ""
    """How much of it fails, for people."""
    known: bool = False
    """Whether it can be told: a provider without nodes is neither well nor failing."""
    troubled: bool = False
    """Whether it would fail if the faults of this moment counted at once: only after that is its recovery timed."""


class Health(msgspec.Struct, frozen=True):
    """The verdict on all nodes of a pool."""

    nodes: Mapping[str, NodeFault] = NOT_SICK
    """By node: every trouble, sick already or not yet; what the next pass goes on from."""
    providers: Mapping[str, ProviderHealth] = MappingProxyType({})
    """By provider of the pool; each has one."""
    all_silent: str = ""
    """Why no verdict can be trusted, for people; empty where they can."""
    recheck_at: float | None = None
    """When time alone may change a verdict, in seconds since the epoch; the first node to fall silent is news."""
    suspect: frozenset[str] = frozenset()
    """Providers that may be about to fall silent, while nodes of the pool have: heartbeats that end at one moment are
    missed one after another, as each was due. They count as failed where it is asked how many have at once."""
    joined: frozenset[str] | None = None
    """Nodes that have been ready, as far as we know; None before the first look. The others are just joining."""


def health_of(seen: Snapshot, members: Members, state: PoolState, now: float) -> Health:
    """Return the verdicts on the nodes of a pool's providers, and on the providers."""
    spec = seen.pool.spec.health
    silence = silence_of(seen.heartbeats, seen.listening_since, spec.silent_seconds, now)
    if seen.stale or silence.all_silent:
        return _untold(members, state, silence.all_silent, now)
    rules = rules_of(spec, seen.pool.name, seen.pool.spec.accelerator.resource_name)
    times = Times(spec.sustain_seconds, spec.clear_seconds)
    holes = black_holes(seen.failures, members, spec.black_holes, now)
    look = _Look(rules, times, silence, holes.failed, state, now)
    providers = {
        name: _provider(look.over(name, infos), look.nodes, _Heard(seen.heartbeats, silence, infos), rules, spec)
        for name, infos in members.items()
    }
    anybody = any(name in silence.silent for name in look.nodes)
    recheck = now + RECHECK_SECONDS if anybody else None
    # Where all are heard, the next one to fall silent is noticed by who hears them: they are heard all the time, and
    # every look for the sake of that would come too early, unless it is about to be so.
    next_silent = silence.recheck_at
    if not anybody and next_silent is not None and next_silent > now + SOON_SECONDS:
        next_silent = None
    suspect = _doubtful(members, seen.heartbeats, silence, spec.silent_percent) if anybody else frozenset()
    if suspect:
        recheck = now + DOUBT_SECONDS
    dues = (due(one, times) for one in look.nodes.values())
    return Health(
        nodes=look.nodes,
        providers=providers,
        recheck_at=soonest(now, [next_silent, holes.recheck_at, recheck, *dues]),
        suspect=suspect,
        joined=frozenset(look.joined),
    )


def _doubtful(members: Members, heartbeats: Mapping[str, float], silence: Silence, percent: int) -> frozenset[str]:
    if not silence.quiet:
        return frozenset()
    unheard = silence.silent | silence.quiet
    names = {
        name: [info.node.name for info in infos if info.node.name in heartbeats] for name, infos in members.items()
    }
    return frozenset(
        name
        for name, nodes in names.items()
        if _speak(len(nodes), len(members[name]))
        and _reaches(sum(one in unheard for one in nodes), len(nodes), percent)
    )


class _Counted(msgspec.Struct, frozen=True):
    """A provider's nodes as far as they count: neither just joining nor being taken away as planned."""

    infos: list[NodeInfo]
    unusual: list[NodeInfo]
    """Those of them with anything to tell."""


class _Look:
    """One look at every node: its trouble, and whether it has ever been ready."""

    def __init__(
        self, rules: Rules, times: Times, silence: Silence, failed: Mapping[str, int], state: PoolState, now: float
    ) -> None:
        self._rules = rules
        self._times = times
        self._silent = silence.silent
        self._failed = failed
        self._state = state
        self._now = now
        self._quick = FastPath(rules)
        self._noted = self._silent | failed.keys() | state.memory.node_faults.keys()
        self.nodes: dict[str, NodeFault] = {}
        self.joined: set[str] = set()

    def over(self, provider: str, infos: Sequence[NodeInfo]) -> _Counted:
        """Look at a provider's nodes; return those that count."""
        counted = _Counted([], [])
        breaker = self._state.breaker(provider)
        for info in infos:
            name = info.node.name
            if name not in self._noted and self._quick.well(info):
                self.joined.add(name)
                counted.infos.append(info)
            elif self._counts(info, breaker):
                counted.infos.append(info)
                counted.unusual.append(info)
        return counted

    def _counts(self, info: NodeInfo, breaker: Breaker) -> bool:
        """Note the node's trouble; say whether the node counts at all."""
        name = info.node.name
        fault = fault_of(info, self._rules, silent=name in self._silent, failed=self._failed.get(name, 0))
        if self._has_joined(info):
            self.joined.add(name)
        elif fault is None or fault.reason in JOINING_FAULTS:
            return False
        if leaving(info.node, self._rules.leaving):
            return False
        before = self._state.memory.node_faults.get(name)
        if before is None and self._state.memory.joined is None:
            before = _found_sick(info.node, breaker, self._now)
        one = node_fault_of(before, fault, self._times, self._now)
        if one is not None:
            self.nodes[name] = one
        return True

    def _has_joined(self, info: NodeInfo) -> bool:
        """Say whether the node has been ready. At the first look, pods or a quarantine there tell that it has."""
        if info.node.ready == "True":
            return True
        if self._state.memory.joined is None:
            return self._rules.pool in info.shares or info.node.quarantined
        return info.node.name in self._state.memory.joined


def _untold(members: Members, state: PoolState, all_silent: str, now: float) -> Health:
    """Return what stands while nothing can be told: who was sick still is, and no provider fails."""
    nodes = held(state.memory.node_faults)
    return Health(
        nodes=nodes,
        providers={name: ProviderHealth(unhealthy=_of(infos, nodes)) for name, infos in members.items()},
        all_silent=all_silent,
        recheck_at=now + RECHECK_SECONDS if all_silent else None,
        joined=state.memory.joined,
    )


def _found_sick(node: Node, breaker: Breaker, now: float) -> NodeFault | None:
    """Return the trouble that a quarantine tells of at the first look, unless its provider's breaker explains it."""
    if not breaker.closed or not node.quarantined:
        return None
    for reason in NODE_FAULTS:
        if node.quarantine == reason.value:
            return quarantined_before(reason, now)
    return None


# -- providers


class _Heard(msgspec.Struct, frozen=True):
    """The cluster's heartbeats, as one provider's verdict needs them."""

    heartbeats: Mapping[str, float]
    silence: Silence
    members: Sequence[NodeInfo]
    """All of the provider's nodes, also those that do not count."""

    def outside(self) -> bool:
        """Say whether any node outside of the provider is heard."""
        names = (info.node.name for info in self.members)
        inside = sum(1 for name in names if name in self.heartbeats and name not in self.silence.silent)
        return self.silence.beating > inside


def _provider(
    counted: _Counted, nodes: Mapping[str, NodeFault], heard: _Heard, rules: Rules, spec: HealthSpec
) -> ProviderHealth:
    if not counted.unusual:
        return ProviderHealth(known=bool(counted.infos))
    found = _of(counted.unusual, nodes)
    unhealthy = {name: one for name, one in found.items() if one.unhealthy}
    at_present = {name: one for name, one in found.items() if one.clear_since is None}
    # Each of them is sick all the same, and counts among all: only not among those that have failed.
    upgraded = {
        info.node.name for info in counted.unusual if info.node.unschedulable and _upgraded(found.get(info.node.name))
    }
    # Nodes whose trouble does not count yet are left out: a device plugin that is restarted everywhere is no failure.
    gone = sum(accelerators_of(info, rules.resource).missing for info in counted.unusual if info.node.name not in found)
    failing, detail = _verdict(counted.infos, _without(unhealthy, upgraded), gone, heard, rules, spec)
    troubled = _verdict(counted.infos, _without(at_present, upgraded), gone, heard, rules, spec)[0] is not None
    return ProviderHealth(unhealthy, failing, detail, known=True, troubled=troubled)


def _upgraded(one: NodeFault | None) -> bool:
    return one is not None and one.reason in UPGRADE_FAULTS


def _without(nodes: Mapping[str, NodeFault], names: set[str]) -> Mapping[str, NodeFault]:
    return {name: one for name, one in nodes.items() if name not in names} if names else nodes


def _verdict(
    infos: Sequence[NodeInfo],
    unhealthy: Mapping[str, NodeFault],
    gone: int,
    heard: _Heard,
    rules: Rules,
    spec: HealthSpec,
) -> tuple[Reason | None, str]:
    """Say whether a provider fails with these nodes sick. `gone`: accelerators that are gone from the others."""
    if not unhealthy and not gone:
        return None, ""
    silent = sum(1 for one in unhealthy.values() if one.reason is Reason.NODE_SILENT)
    if silent and heard.outside():
        beating = sum(1 for info in infos if info.node.name in heard.heartbeats)
        if _speak(beating, len(infos)) and _reaches(silent, beating, spec.silent_percent):
            return Reason.PROVIDER_SILENT, f"{silent} of {beating} nodes have fallen silent"
    if _reaches(len(unhealthy), len(infos), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{len(unhealthy)} of {len(infos)} nodes are sick"
    has = {info.node.name: accelerators_of(info, rules.resource).capacity for info in infos}
    lost = gone + sum(has[name] for name in unhealthy)
    if _reaches(lost, sum(has.values()), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{lost // MILLI} of {sum(has.values()) // MILLI} accelerators are gone"
    return None, ""


def _speak(beating: int, count: int) -> bool:
    """Say whether so many nodes have heartbeats that they speak for all of a provider's."""
    return 2 * beating >= count


def _reaches(part: int, whole: int, percent: int) -> bool:
    return part > 0 and 100 * part >= percent * whole


def _of(infos: Sequence[NodeInfo], nodes: Mapping[str, NodeFault]) -> dict[str, NodeFault]:
    if not nodes:
        return {}
    return {info.node.name: nodes[info.node.name] for info in infos if info.node.name in nodes}
