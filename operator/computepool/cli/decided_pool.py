"""The operator's decision about one pool of a view, so that it can be compared with another.

A pool is decided as if it were in mode Enforce, and as if the taints that a pass asks for were seen already: the
operator moves a pod only off a node that it has seen with the taint, a moment later.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from computepool.cli.errors import ToldError
from computepool.decide.invariants import InvariantBreachError
from computepool.decide.plan import Plan
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.model.api import Mode
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState

_ALL: Final = 10_000_000
"""Blocked moves to list: all of them."""


class FailedDecisionError(ToldError):
    """A pool that can't be decided about, which is a defect of this version."""


class DecidedPool(msgspec.Struct, frozen=True):
    """The decisions about one pool."""

    snapshot: Snapshot
    """In mode Enforce, whatever the pool's mode is."""
    observed: bool
    """Whether the pool's mode is Observe: what is decided is only reported."""
    outcome: Reconciled
    plan: Plan
    """The plan once the taints that it asks for are seen."""

    def provider_of(self) -> Mapping[str, str]:
        """Return the provider of each node."""
        supplies = self.outcome.assessment.supplies
        return {info.node.name: supply.provider.name for supply in supplies for info in supply.nodes}


def decided(snapshot: Snapshot, state: PoolState, now: float) -> DecidedPool:
    """Decide about one pool. Raises FailedDecisionError."""
    enforced = _in_mode(snapshot, Mode.ENFORCE)
    try:
        outcome = reconcile(enforced, state, now, most_blocked=_ALL)
        plan = outcome.plan
        if any(blocked.reason is Reason.QUARANTINE_PENDING for blocked in plan.blocked):
            # In mode Observe no taint comes, so moves do not wait for one. Everything before them is decided alike.
            seen = reconcile(_in_mode(snapshot, Mode.OBSERVE), state, now, most_blocked=_ALL).plan
            plan = msgspec.structs.replace(plan, moves=seen.moves, blocked=seen.blocked)
    except InvariantBreachError as error:
        raise FailedDecisionError(
            f"nothing can be decided about pool {snapshot.pool.name}, which is a defect of this version: {error}. "
            "Please report it."
        ) from None
    return DecidedPool(enforced, snapshot.pool.spec.mode is Mode.OBSERVE, outcome, plan)


def _in_mode(snapshot: Snapshot, mode: Mode) -> Snapshot:
    pool = snapshot.pool
    if pool.spec.mode is mode:
        return snapshot
    spec = pool.spec.model_copy(update={"mode": mode})
    return msgspec.structs.replace(snapshot, pool=pool.model_copy(update={"spec": spec}))
