"""One pass of the pure core, and short ways to say what came of it."""

from __future__ import annotations

from collections.abc import Iterable

from computepool.assess.assessment import assess
from computepool.assess.overflow import Hold
from computepool.decide.decision import decide
from computepool.decide.plan import Burst, Plan
from computepool.model.reasons import Reason
from computepool.model.snapshot import Offer, Pod, Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW


def decided(seen: Snapshot, state: PoolState | None = None, now: float = NOW) -> Plan:
    """Run one pass."""
    before = state or PoolState()
    return decide(seen, assess(seen, before, now), before, now)


def sent_to(plan: Plan) -> dict[str, str]:
    """Pods sent on, by name, and where to."""
    return {one.pod.name: one.provider for one in plan.bursts}


def holds(plan: Plan) -> dict[str, Reason]:
    """Pods that wait, by name, and why."""
    return {one.pod.name: one.reason for one in plan.holds}


def waits_for(plan: Plan) -> dict[str, str]:
    """Pods that wait for a provider, by name."""
    return {one.pod.name: one.provider for one in plan.holds if one.provider}


def hold_of(plan: Plan, name: str) -> Hold:
    """How one pod waits."""
    (found,) = [one for one in plan.holds if one.pod.name == name]
    return found


def burst_of(plan: Plan, name: str) -> Burst:
    """How one pod is sent on."""
    (found,) = [one for one in plan.bursts if one.pod.name == name]
    return found


def flying(*pods: Pod, to: str, at: float = NOW) -> dict[str, Offer]:
    """Offers under way to these pods."""
    return {one.uid: Offer(to, at) for one in pods}


def names(pods: Iterable[Pod]) -> list[str]:
    """The pods' names."""
    return [one.name for one in pods]
