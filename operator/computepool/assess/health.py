"""What is wrong with nodes and providers, and since when.

Invariant 4: what can't be told is neither well nor failing. A provider without nodes, a node without a heartbeat, a
view that is not current make nothing fail; where all heartbeats stop at once, every verdict stands as it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.assess.blackholes import black_holes
from computepool.assess.faults import OF_JOINING, OF_THE_NODE, Rules, devices_of, fault_of, leaving, rules_of
from computepool.assess.sickness import Times, due, held, quarantined_before, sickness_of
from computepool.assess.silence import Silence, silence_of
from computepool.model.api import Health as HealthSpec
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.snapshot import Node, NodeUse, Snapshot
from computepool.model.state import Breaker, PoolState, Sickness

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
    look_again: float | None = None
    """When time alone may change a verdict, in seconds since the epoch."""
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
    joined = _joined(members, state.joined, rules.pool)
    nodes: dict[str, Sickness] = {}
    counted: dict[str, list[NodeUse]] = {}
    for provider, uses in members.items():
        breaker = state.breakers.get(provider, Breaker())
        counted[provider] = []
        for use in uses:
            name = use.node.name
            fault = fault_of(use, rules, silent=name in silence.silent, failed=holes.failed.get(name, 0))
            joining = name not in joined and (fault is None or fault.reason in OF_JOINING)
            if joining or leaving(use.node, rules.leaving):
                continue
            counted[provider].append(use)
            before = state.sick.get(name)
            if before is None and state.joined is None:
                before = _found_sick(use.node, breaker, now)
            if (one := sickness_of(before, fault, times, now)) is not None:
                nodes[name] = one
    recheck = now + RECHECK_SECONDS if any(name in silence.silent for name in nodes) else None
    return Health(
        nodes=nodes,
        providers={
            name: _provider(counted[name], nodes, _heard(uses, counted[name], seen.heartbeats, silence), rules, spec)
            for name, uses in members.items()
        },
        look_again=soonest(
            now, [silence.look_again, holes.look_again, recheck, *(due(one, times) for one in nodes.values())]
        ),
        joined=joined,
    )


def _untold(members: Members, state: PoolState, blind: str, now: float) -> Health:
    """Return what stands while nothing can be told: who was sick still is, and no provider fails."""
    nodes = held(state.sick)
    return Health(
        nodes=nodes,
        providers={name: ProviderHealth(sick=_of(uses, nodes)) for name, uses in members.items()},
        blind=blind,
        look_again=now + RECHECK_SECONDS if blind else None,
        joined=state.joined,
    )


def _joined(members: Members, before: frozenset[str] | None, pool: str) -> frozenset[str]:
    """Return the nodes that have been ready. At the first look, pods or a quarantine there tell that one has been."""
    uses = (use for uses in members.values() for use in uses)
    if before is None:
        return frozenset(
            use.node.name for use in uses if use.node.ready == "True" or pool in use.shares or use.node.quarantined
        )
    return frozenset(use.node.name for use in uses if use.node.name in before or use.node.ready == "True")


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
    """How many nodes that count have a heartbeat at all, and whether any node outside of the provider is heard."""

    inside: int
    outside: bool


def _heard(
    uses: Sequence[NodeUse], counted: Sequence[NodeUse], heartbeats: Mapping[str, float], silence: Silence
) -> _Heard:
    if not heartbeats:
        return _Heard(0, outside=False)
    beating = sum(1 for use in uses if use.node.name in heartbeats and use.node.name not in silence.silent)
    return _Heard(sum(1 for use in counted if use.node.name in heartbeats), silence.beating > beating)


def _provider(
    uses: Sequence[NodeUse], nodes: Mapping[str, Sickness], heard: _Heard, rules: Rules, spec: HealthSpec
) -> ProviderHealth:
    found = _of(uses, nodes)
    sick = {name: one for name, one in found.items() if one.sick}
    now_faulty = {name: one for name, one in found.items() if one.clear_since is None}
    gone = _partly_gone(uses, found, rules.resource)
    failing, detail = _verdict(uses, sick, gone, heard, rules, spec)
    troubled = bool(now_faulty) and _verdict(uses, now_faulty, gone, heard, rules, spec)[0] is not None
    return ProviderHealth(sick, failing, detail, known=bool(uses), troubled=troubled)


def _verdict(
    uses: Sequence[NodeUse],
    sick: Mapping[str, Sickness],
    gone: int,
    heard: _Heard,
    rules: Rules,
    spec: HealthSpec,
) -> tuple[Reason | None, str]:
    """Say whether a provider fails with these nodes sick. `gone`: accelerators that are gone from the others."""
    silent = sum(1 for one in sick.values() if one.reason is Reason.NODE_SILENT)
    if heard.outside and _reaches(silent, heard.inside, spec.silent_percent):
        return Reason.PROVIDER_SILENT, f"{silent} of {heard.inside} nodes have fallen silent"
    if _reaches(len(sick), len(uses), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{len(sick)} of {len(uses)} nodes are sick"
    if not sick and not gone:
        return None, ""
    has = {use.node.name: devices_of(use.node, rules.resource)[0] for use in uses}
    lost = gone + sum(has[name] for name in sick)
    if _reaches(lost, sum(has.values()), spec.unhealthy_percent):
        return Reason.PROVIDER_UNHEALTHY, f"{lost // MILLI} of {sum(has.values()) // MILLI} accelerators are gone"
    return None, ""


def _partly_gone(uses: Sequence[NodeUse], troubled: Mapping[str, Sickness], resource: str) -> int:
    """Sum up what is gone from nodes that have no trouble: too little for one, and perhaps enough together.

    Nodes whose trouble does not count yet are left out: a device plugin that is restarted everywhere is no failure.
    """
    return sum(devices_of(use.node, resource)[1] for use in uses if use.node.name not in troubled)


def _reaches(part: int, whole: int, percent: int) -> bool:
    return part > 0 and 100 * part >= percent * whole


def _of(uses: Sequence[NodeUse], nodes: Mapping[str, Sickness]) -> dict[str, Sickness]:
    if not nodes:
        return {}
    return {use.node.name: nodes[use.node.name] for use in uses if use.node.name in nodes}


def soonest(now: float, times: Iterable[float | None]) -> float | None:
    """Return the first of these times that is to come."""
    return min((time for time in times if time is not None and time > now), default=None)
