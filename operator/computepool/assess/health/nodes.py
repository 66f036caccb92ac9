"""What is wrong with nodes and providers, and since when.

Invariant 4: what can't be told is neither well nor failing. A provider without nodes, a node without a heartbeat, a
view that is not current make nothing fail; where all heartbeats stop at once, every verdict stands as it was.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.assess.health.black_holes import black_holes
from computepool.assess.health.faults import (
    OF_JOINING,
    OF_THE_NODE,
    OF_UPGRADES,
    Quick,
    Rules,
    fault_of,
    leaving,
    rules_of,
)
from computepool.assess.health.hysteresis import Times, due, held, quarantined_before, sickness_of
from computepool.assess.health.silence import Silence, silence_of
from computepool.assess.times import soonest
from computepool.model.accelerators import accelerators_of
from computepool.model.api import Health as HealthSpec
from computepool.model.cluster import Node, NodeUse
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, PoolState, Sickness

DOUBT_SECONDS = 1.0
"""Between looks while a provider may be about to fall silent."""
SOON_SECONDS = 1.0
"""One who hears somebody fall silent says so once; by a clock that is put right meanwhile it is not so yet."""
RECHECK_SECONDS = 5.0
"""Between looks while a node is silent: that it is heard again shows in no change."""
NOT_SICK: Mapping[str, Sickness] = MappingProxyType({})
Members = Mapping[str, Sequence[NodeUse]]
"""By provider: its nodes."""


class ProviderHealth(msgspec.Struct, frozen=True):
    """The verdict on one provider."""

    sick: Mapping[str, Sickness] = NOT_SICK
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

    nodes: Mapping[str, Sickness] = NOT_SICK
    """By node: every trouble, sick already or not yet; what the next pass goes on from."""
    providers: Mapping[str, ProviderHealth] = MappingProxyType({})
    """By provider of the pool; each has one."""
    blind: str = ""
    """Why no verdict can be trusted, for people; empty where they can."""
    recheck_at: float | None = None
    """When time alone may change a verdict, in seconds since the epoch; the first node to fall silent is news."""
    doubtful: frozenset[str] = frozenset()
    """Providers that may be about to fall silent, while nodes of the pool have: heartbeats that end at one moment are
    missed one after another, as each was due. They count as failed where it is asked how many have at once."""
    joined: frozenset[str] | None = None
    """Nodes that have been ready, as far as we know; None before the first look. The others are just joining."""


def health_of(seen: Snapshot, members: Members, state: PoolState, now: float) -> Health:
    """Return the verdicts on the nodes of a pool's providers, and on the providers."""
    spec = seen.pool.spec.health
    silence = silence_of(seen.heartbeats, seen.listening_since, spec.silent_seconds, now)
    if seen.stale or silence.blind:
        return _untold(members, state, silence.blind, now)
    rules = rules_of(spec, seen.pool.name, seen.pool.spec.accelerator.resource_name)
    times = Times(spec.sustain_seconds, spec.clear_seconds)
    holes = black_holes(seen.failures, members, spec.black_holes, now)
    look = _Look(rules, times, silence, holes.failed, state, now)
    providers = {
        name: _provider(look.over(name, uses), look.nodes, _Heard(seen.heartbeats, silence, uses), rules, spec)
        for name, uses in members.items()
    }
    anybody = any(name in silence.silent for name in look.nodes)
    recheck = now + RECHECK_SECONDS if anybody else None
    # Where all are heard, the next one to fall silent is noticed by who hears them: they are heard all the time, and
    # every look for the sake of that would come too early, unless it is about to be so.
    next_silent = silence.recheck_at
    if not anybody and next_silent is not None and next_silent > now + SOON_SECONDS:
        next_silent = None
    doubtful = _doubtful(members, seen.heartbeats, silence, spec.silent_percent) if anybody else frozenset()
    if doubtful:
        recheck = now + DOUBT_SECONDS
    dues = (due(one, times) for one in look.nodes.values())
    return Health(
        nodes=look.nodes,
        providers=providers,
        recheck_at=soonest(now, [next_silent, holes.recheck_at, recheck, *dues]),
        doubtful=doubtful,
        joined=frozenset(look.joined),
    )


def _doubtful(members: Members, heartbeats: Mapping[str, float], silence: Silence, percent: int) -> frozenset[str]:
    if not silence.quiet:
        return frozenset()
    unheard = silence.silent | silence.quiet
    names = {name: [use.node.name for use in uses if use.node.name in heartbeats] for name, uses in members.items()}
    return frozenset(
        name
        for name, nodes in names.items()
        if _speak(len(nodes), len(members[name]))
        and _reaches(sum(one in unheard for one in nodes), len(nodes), percent)
    )


class _Counted(msgspec.Struct, frozen=True):
    """A provider's nodes as far as they count: neither just joining nor being taken away as planned."""

    uses: list[NodeUse]
    odd: list[NodeUse]
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
        self._quick = Quick(rules)
        self._noted = self._silent | failed.keys() | state.memory.sick.keys()
        self.nodes: dict[str, Sickness] = {}
        self.joined: set[str] = set()

    def over(self, provider: str, uses: Sequence[NodeUse]) -> _Counted:
        """Look at a provider's nodes; return those that count."""
        counted = _Counted([], [])
        breaker = self._state.breaker(provider)
        for use in uses:
            name = use.node.name
            if name not in self._noted and self._quick.well(use):
                self.joined.add(name)
                counted.uses.append(use)
            elif self._counts(use, breaker):
                counted.uses.append(use)
                counted.odd.append(use)
        return counted

    def _counts(self, use: NodeUse, breaker: Breaker) -> bool:
        """Note the node's trouble; say whether the node counts at all."""
        name = use.node.name
        fault = fault_of(use, self._rules, silent=name in self._silent, failed=self._failed.get(name, 0))
        if self._has_joined(use):
            self.joined.add(name)
        elif fault is None or fault.reason in OF_JOINING:
            return False
        if leaving(use.node, self._rules.leaving):
            return False
        before = self._state.memory.sick.get(name)
        if before is None and self._state.memory.joined is None:
            before = _found_sick(use.node, breaker, self._now)
        one = sickness_of(before, fault, self._times, self._now)
        if one is not None:
            self.nodes[name] = one
        return True

    def _has_joined(self, use: NodeUse) -> bool:
        """Say whether the node has been ready. At the first look, pods or a quarantine there tell that it has."""
        if use.node.ready == "True":
            return True
        if self._state.memory.joined is None:
            return self._rules.pool in use.shares or use.node.quarantined
        return use.node.name in self._state.memory.joined


def _untold(members: Members, state: PoolState, blind: str, now: float) -> Health:
    """Return what stands while nothing can be told: who was sick still is, and no provider fails."""
    nodes = held(state.memory.sick)
    return Health(
        nodes=nodes,
        providers={name: ProviderHealth(sick=_of(uses, nodes)) for name, uses in members.items()},
        blind=blind,
        recheck_at=now + RECHECK_SECONDS if blind else None,
        joined=state.memory.joined,
    )


def _found_sick(node: Node, breaker: Breaker, now: float) -> Sickness | None:
    """Return the trouble that a quarantine tells of at the first look, unless its provider's breaker explains it."""
    if not breaker.closed or not node.quarantined:
        return None
    for reason in OF_THE_NODE:
        if node.quarantine == reason.value:
            return quarantined_before(reason, now)
    return None


# -- providers


class _Heard(msgspec.Struct, frozen=True):
    """The cluster's heartbeats, as one provider's verdict needs them."""

    heartbeats: Mapping[str, float]
    silence: Silence
    members: Sequence[NodeUse]
    """All of the provider's nodes, also those that do not count."""

    def outside(self) -> bool:
        """Say whether any node outside of the provider is heard."""
        names = (use.node.name for use in self.members)
        inside = sum(1 for name in names if name in self.heartbeats and name not in self.silence.silent)
        return self.silence.beating > inside


def _provider(
    counted: _Counted, nodes: Mapping[str, Sickness], heard: _Heard, rules: Rules, spec: HealthSpec
) -> ProviderHealth:
    if not counted.odd:
        return ProviderHealth(known=bool(counted.uses))
    found = _of(counted.odd, nodes)
    sick = {name: one for name, one in found.items() if one.sick}
    at_present = {name: one for name, one in found.items() if one.clear_since is None}
    # Each of them is sick all the same, and counts among all: only not among those that have failed.
    upgraded = {use.node.name for use in counted.odd if use.node.unschedulable and _upgraded(found.get(use.node.name))}
    # Nodes whose trouble does not count yet are left out: a device plugin that is restarted everywhere is no failure.
    gone = sum(accelerators_of(use, rules.resource).missing for use in counted.odd if use.node.name not in found)
    failing, detail = _verdict(counted.uses, _without(sick, upgraded), gone, heard, rules, spec)
    troubled = _verdict(counted.uses, _without(at_present, upgraded), gone, heard, rules, spec)[0] is not None
    return ProviderHealth(sick, failing, detail, known=True, troubled=troubled)


def _upgraded(one: Sickness | None) -> bool:
    return one is not None and one.reason in OF_UPGRADES


def _without(nodes: Mapping[str, Sickness], names: set[str]) -> Mapping[str, Sickness]:
    return {name: one for name, one in nodes.items() if name not in names} if names else nodes


def _verdict(
    uses: Sequence[NodeUse], sick: Mapping[str, Sickness], gone: int, heard: _Heard, rules: Rules, spec: HealthSpec
) -> tuple[Reason | None, str]:
    """Say whether a provider fails with these nodes sick. `gone`: accelerators that are gone from the others."""
    if not sick and not gone:
        return None, ""
    silent = sum(1 for one in sick.values() if one.reason is Reason.NODE_SILENT)
    if silent and heard.outside():
        beating = sum(1 for use in uses if use.node.name in heard.heartbeats)
        if _speak(beating, len(uses)) and _reaches(silent, beating, spec.silent_percent):
            return Reason.PROVIDER_SILENT, f"{silent} of {beating} nodes have fallen silent"
    if _reaches(len(sick), len(uses), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{len(sick)} of {len(uses)} nodes are sick"
    has = {use.node.name: accelerators_of(use, rules.resource).capacity for use in uses}
    lost = gone + sum(has[name] for name in sick)
    if _reaches(lost, sum(has.values()), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{lost // MILLI} of {sum(has.values()) // MILLI} accelerators are gone"
    return None, ""


def _speak(beating: int, count: int) -> bool:
    """Say whether so many nodes have heartbeats that they speak for all of a provider's."""
    return 2 * beating >= count


def _reaches(part: int, whole: int, percent: int) -> bool:
    return part > 0 and 100 * part >= percent * whole


def _of(uses: Sequence[NodeUse], nodes: Mapping[str, Sickness]) -> dict[str, Sickness]:
    if not nodes:
        return {}
    return {use.node.name: nodes[use.node.name] for use in uses if use.node.name in nodes}
