"""The only way to a decision: a snapshot and the state before, to an assessment, a plan and the state after.

The operator and `computepool explain` call `reconcile`, and so does every tool that asks what the operator would do.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from computepool.assess.assessment import Assessment, assess
from computepool.assess.clamp import clamped_to
from computepool.assess.demand.overflow import Hold
from computepool.assess.times import soonest
from computepool.decide.account.budget import BudgetAccount, budget_account
from computepool.decide.burst.admission import admission_of
from computepool.decide.burst.planner import plan_bursts
from computepool.decide.burst.promises import open_account
from computepool.decide.context import Context
from computepool.decide.invariants import check_invariants
from computepool.decide.labels import label_fixes
from computepool.decide.move.pending import pending_moves
from computepool.decide.move.pool_moves import MovePlan, move_label_keys, plan_moves
from computepool.decide.plan import Plan
from computepool.decide.quarantine import quarantine_of
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, Memory, PoolState, Recorded

RECHECK_SECONDS: Final = 2.0
"""Between looks at a view that is not current: no event announces that it is current again."""


class Reconciled(msgspec.Struct, frozen=True):
    """The outcome of one pass."""

    assessment: Assessment
    plan: Plan
    state: PoolState
    """What the next pass goes on from."""


def reconcile(snapshot: Snapshot, state: PoolState, now: float) -> Reconciled:
    """Decide one pass over one pool. `state`: what the pass before has left; `now`: seconds since the epoch.

    Raises InvariantBreachError where the decision breaks an invariant.
    """
    # 1. Bring times of the future back to now, once for everything that follows.
    state = clamped_to(now, state, snapshot.pool)

    # 2. Judge what was seen: health, breakers, capacity, demand, saturation.
    assessment = assess(snapshot, state, now)

    # 3. Freeze where the view can't be trusted.
    frozen = _frozen(snapshot, assessment)
    if frozen:
        return _freeze(snapshot, assessment, state, frozen, now)
    context = Context(snapshot, assessment, state, now)

    # 4. Open the account: whatever was promised before takes its place first.
    pending = pending_moves(snapshot, state.recorded.recent_moves, now)
    budget = budget_account(context)
    opened = open_account(context, budget, pending, assessment.label_keys | move_label_keys(context))

    # 5. Walk the overflow over the standbys, in order of priority and age.
    bursts = plan_bursts(context, opened, pending)

    # 6. Move running pods: off what fails, to make room, home.
    moves = plan_moves(context, opened.account, pending, budget, bursts.stuck)

    # 7. Open or close admission, by what is left.
    admission = admission_of(context, opened.account)

    # 8. Quarantine what fails, unless too much has failed at once.
    quarantine = None if assessment.exceeded else quarantine_of(assessment, context.resource)

    # 9. Correct the labels of bound pods, once no pod is left to burst.
    fixes = () if bursts.bursts else label_fixes(context.pool, assessment.supplies)

    # 10. Say when to look again, and what the next pass goes on from.
    holds = (*assessment.demand.held, *bursts.holds)
    times = (*(hold.until for hold in holds), *(overflow.until for overflow in assessment.demand.overflow))
    plan = Plan(
        bursts=bursts.bursts,
        holds=holds,
        label_fixes=fixes,
        admission=admission,
        moves=moves.moves,
        blocked=moves.blocked,
        blocked_left_out=moves.blocked_left_out,
        exhausted=opened.account.budget_refused or budget.excess > 0,
        quarantine=quarantine,
        held_back=assessment.exceeded,
        recheck_at=soonest(now, (assessment.recheck_at, moves.recheck_at, budget.recheck_at, *times)),
    )

    # 11. Check what must always hold. A breach fails the pass: nothing of the plan is carried out.
    check_invariants(context, budget, plan)
    decided = _Decided(opened.waiting.fitting, admission.provider, budget, moves)
    return Reconciled(assessment, plan, _next_state(state, assessment, decided))


def _frozen(snapshot: Snapshot, assessment: Assessment) -> str:
    """Invariant 4: missing or stale data freezes; it never counts as pressure or as health."""
    if snapshot.stale or assessment.all_silent:
        return snapshot.stale or assessment.all_silent
    if not assessment.primary.known and assessment.primary.breaker.closed:
        # A primary that has failed, or is drained, was known, and may lose its nodes for that very reason.
        name = assessment.primary.provider.name
        return (
            f"no node matches the nodeSelector of the primary {name!r}: check its labels, "
            "or set capacity.type to OnDemand if its nodes are made on demand"
        )
    return ""


def _freeze(snapshot: Snapshot, assessment: Assessment, state: PoolState, why: str, now: float) -> Reconciled:
    plan = Plan(
        holds=tuple(Hold(pod, Reason.FROZEN) for pod in snapshot.waiting),
        frozen=why,
        recheck_at=now + RECHECK_SECONDS if snapshot.stale else assessment.recheck_at,
    )
    return Reconciled(assessment, plan, _next_state(state, assessment, None))


class _Decided(msgspec.Struct, frozen=True):
    """What the next state takes from the decisions of a pass."""

    fitting: Mapping[tuple[str, str], float]
    admitting: str
    budget: BudgetAccount
    moves: MovePlan


def _next_state(before: PoolState, assessment: Assessment, decided: _Decided | None) -> PoolState:
    """Put together what the next pass goes on from. `decided`: None while the pool is frozen.

    While it is frozen the verdicts of before stand, and so does what limits count; the timers of saturation and of
    places start anew. Health and breakers are the assessment's, which keeps them where nothing can be seen.
    """
    breakers = {name: breaker for name, breaker in assessment.breakers.of.items() if breaker != Breaker()}
    memory = Memory(
        node_faults=assessment.health.nodes,
        breaker_timers=assessment.breakers.timers,
        not_bound=assessment.breakers.not_bound,
        last_bound_offer=assessment.breakers.last_bound_offer,
        joined=assessment.health.joined,
        moved_before=before.memory.moved_before,
        rate=before.memory.rate,
        failed_returns=before.memory.failed_returns,
    )
    if decided is None:
        return PoolState(msgspec.structs.replace(before.recorded, breakers=breakers), memory)
    saturation, moves = assessment.saturation, decided.moves
    recorded = Recorded(saturation.saturated, decided.admitting, breakers, decided.budget.spend, moves.recent_moves)
    return PoolState(
        recorded,
        msgspec.structs.replace(
            memory,
            pressure_since=saturation.pressure_since,
            relief_since=saturation.relief_since,
            fitting={**assessment.demand.fitting, **decided.fitting},
            stable_since=moves.stable_since,
            moved_before=moves.moved_before,
            rate=decided.budget.rate,
            failed_returns=moves.failed_returns,
            unknown_since=moves.unknown_since,
        ),
    )
