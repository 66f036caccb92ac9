"""Helpers that run one pass of the pure core and return short forms of its decisions."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from computepool.assess.assessment import Assessment
from computepool.assess.demand.overflow import Hold
from computepool.decide.plan import Burst, Plan
from computepool.decide.reconcile import reconcile
from computepool.model.cluster import Offer, Pod
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from tests.builders import NOW


class Decided(Plan, frozen=True, kw_only=True):
    """A plan, with the assessment that it is made from and the state that it leaves."""

    assessment: Assessment
    state: PoolState


def decided(seen: Snapshot, state: PoolState | None = None, now: float = NOW) -> Decided:
    """Run one pass."""
    outcome = reconcile(seen, state or PoolState(), now)
    return Decided(**msgspec.structs.asdict(outcome.plan), assessment=outcome.assessment, state=outcome.state)


def sent_to(plan: Plan) -> dict[str, str]:
    """By name of each pod that was sent: its standby."""
    return {burst.pod.name: burst.provider for burst in plan.bursts}


def holds(plan: Plan) -> dict[str, Reason]:
    """Pods that wait, by name, and why."""
    return {hold.pod.name: hold.reason for hold in plan.holds}


def waits_for(plan: Plan) -> dict[str, str]:
    """Pods that wait for a provider, by name."""
    return {hold.pod.name: hold.provider for hold in plan.holds if hold.provider}


def hold_of(plan: Plan, name: str) -> Hold:
    """How one pod waits."""
    (found,) = [hold for hold in plan.holds if hold.pod.name == name]
    return found


def burst_of(plan: Plan, name: str) -> Burst:
    """The burst of one pod."""
    (found,) = [burst for burst in plan.bursts if burst.pod.name == name]
    return found


def flying(*pods: Pod, to: str, at: float = NOW) -> dict[str, Offer]:
    """Offers under way to these pods."""
    return {pod.uid: Offer(to, at) for pod in pods}


def names(pods: Iterable[Pod]) -> list[str]:
    """The pods' names."""
    return [pod.name for pod in pods]
