"""Decides all moves of a pass: failover first, then reschedule, then failback.

While too many providers have failed at once, no pod is moved.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from computepool.assess.capacity.fit import label_keys
from computepool.decide.account.budget import BudgetAccount
from computepool.decide.account.capacity_account import Account
from computepool.decide.context import Context
from computepool.decide.move.blocked import MAX_LISTED, BlockedMoves
from computepool.decide.move.dwell import Dwell, moved_before
from computepool.decide.move.failback import fail_back, failback_infos
from computepool.decide.move.failover import fail_over, troubled_infos, unknown_since
from computepool.decide.move.limits import MoveLimits
from computepool.decide.move.make_room import make_room
from computepool.decide.move.owner_history import OwnerHistory, OwnerOutlook
from computepool.decide.move.pending_moves import PendingMoves
from computepool.decide.move.planner import MovePlanner
from computepool.decide.plan import BlockedMove, Move
from computepool.model.api import FailbackPolicy, Mode, OnExhausted, ReschedulePolicy
from computepool.model.cluster import NodeInfo, Pod, members_on
from computepool.model.state import RecentMoves


class MovePlan(msgspec.Struct, frozen=True):
    """The decisions about running pods, and what the next state keeps of them."""

    moves: tuple[Move, ...]
    blocked: tuple[BlockedMove, ...]
    blocked_left_out: int
    recheck_at: float | None
    recent_moves: RecentMoves
    stable_since: float | None
    moved_before: float | None
    unknown_since: Mapping[str, float]
    outlook: OwnerOutlook


def plan_moves(
    context: Context,
    account: Account,
    pending: PendingMoves,
    budget: BudgetAccount,
    stuck: Sequence[Pod],
    *,
    most_blocked: int = MAX_LISTED,
) -> MovePlan:
    """Decide all moves of a pass. `stuck`: pending pods that can only run on the primary, which is full.

    `most_blocked`: how many blocked moves are listed.
    """
    snapshot, state, now = context.snapshot, context.state, context.now
    before = moved_before(snapshot, state)
    unknown = unknown_since(snapshot, state.memory.unknown_since, now)
    stable = _stable_since(context)
    limits = MoveLimits(snapshot, pending, state.recorded.recent_moves, now)
    dwell = Dwell(snapshot, float(context.spec.failback.min_dwell_seconds), before, now)
    history = OwnerHistory(context, before)
    blocked = BlockedMoves(now, most_blocked)
    planner = MovePlanner(context, account, pending, limits, dwell, history, blocked)
    if not context.assessment.exceeded:
        fail_over(planner, unknown)
        make_room(planner, stuck)
        fail_back(planner, budget.excess, stable)
    moves = tuple(planner.moves)
    planner.blocked.recheck(_kept_until(pending))
    planner.blocked.recheck(planner.history.recheck_at)
    return MovePlan(
        moves=moves,
        blocked=tuple(planner.blocked.listed),
        blocked_left_out=planner.blocked.left_out,
        recheck_at=planner.blocked.recheck_at,
        # In mode Observe no pod is moved, so the moves count against no limit.
        recent_moves=limits.recorded(() if context.spec.mode is Mode.OBSERVE else moves),
        stable_since=stable,
        moved_before=before,
        unknown_since=unknown,
        outlook=history.outlook(),
    )


def move_label_keys(context: Context) -> frozenset[str]:
    """Return the node labels in the selectors of all pods that this pass may move."""
    moving = [move.pod for move in context.snapshot.moves]
    infos = (info for info in _sources(context) if info.shares)
    return label_keys((*moving, *members_on(infos, context.pool)))


def _sources(context: Context) -> Iterable[NodeInfo]:
    spec, assessment = context.spec, context.assessment
    yield from troubled_infos(assessment)
    if spec.reschedule.policy is not ReschedulePolicy.NEVER:
        yield from assessment.primary.nodes
    returns = spec.budget is not None and spec.budget.on_exhausted is OnExhausted.RETURN
    if returns or spec.failback.policy is not FailbackPolicy.NEVER:
        yield from failback_infos(assessment.supplies)


def _stable_since(context: Context) -> float | None:
    """Return since when the primary is healthy and known not to be saturated; None while it is not."""
    assessment = context.assessment
    if not assessment.primary.breaker.closed or assessment.saturation.saturated is not False:
        return None
    if assessment.keeps_away:
        # Invariant 4: a signal that is Unknown shows no relief.
        return None
    since = context.state.memory.stable_since
    return context.now if since is None else since


def _kept_until(pending: PendingMoves) -> float | None:
    """Return when the first place kept for a replacement becomes free again; None if that is unknown."""
    return min((move.pending_until for move in pending.awaiting if not move.unanswered), default=None)
