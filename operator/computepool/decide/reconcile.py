"""The pure function of a pass. The operator, `explain`, `diff` and the simulation all decide by it."""

from collections.abc import Mapping
from typing import Final

import msgspec

from computepool.assess.assessment import Assessment, assess
from computepool.assess.breakers.pool_breakers import SETTLE_SECONDS
from computepool.assess.capacity.fit import label_keys
from computepool.assess.clamp_future_times import clamped_to
from computepool.assess.demand.overflow import Hold
from computepool.assess.recheck_times import soonest
from computepool.decide.account.budget import BudgetAccount, budget_account
from computepool.decide.burst.admission import admission_of, hold_ends_at
from computepool.decide.burst.kept_places import open_account
from computepool.decide.burst.planner import Verdicts, plan_bursts
from computepool.decide.context import Context
from computepool.decide.invariants import check_invariants
from computepool.decide.label_fixes import label_fixes
from computepool.decide.missed_drain import DrainedRoom
from computepool.decide.move.blocked import MAX_LISTED
from computepool.decide.move.pending_moves import pending_moves
from computepool.decide.move.pool_moves import MovePlan, move_label_keys, plan_moves
from computepool.decide.plan import Admission, Plan
from computepool.decide.quarantine import quarantine_of
from computepool.decide.refused_patches import recheck_times, refused_providers
from computepool.decide.shortage import CLEAR_SECONDS, shortage_of
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, Memory, MissedDrain, PoolState, Recorded, RefusedProvider, Shortage

RECHECK_SECONDS: Final = 2.0
"""Time until the next pass while the view is stale, because no event tells when the view is current again."""


class Reconciled(msgspec.Struct, frozen=True):
    """The outcome of one pass."""

    assessment: Assessment
    plan: Plan
    state: PoolState
    """The state for the next pass."""
    survey: Verdicts = ()
    """The verdicts on all providers, in order, about the waiting pod that was asked about."""


def reconcile(
    snapshot: Snapshot, state: PoolState, now: float, survey: str = "", *, most_blocked: int = MAX_LISTED
) -> Reconciled:
    """Decide one pass over one pool. `state`: from the pass before; `now`: seconds since the epoch.

    `survey`: the uid of a waiting pod about which each provider is asked. `most_blocked`: how many blocked moves the
    plan lists. Neither changes a decision.

    Raises InvariantBreachError if the plan breaks an invariant.
    """
    # 1. Bring times of the future back to now, once for all later steps.
    state = clamped_to(now, state, snapshot.pool)

    # 2. Judge health, breakers, capacity, demand and saturation.
    assessment = assess(snapshot, state, now)

    # 3. Freeze if the view can't be trusted.
    frozen = _frozen(snapshot, assessment)
    if frozen:
        return _freeze(snapshot, assessment, state, frozen, now)
    context = Context(snapshot, assessment, state, now)

    # 4. Open the account. Earlier promises take their places first.
    pending = pending_moves(snapshot, assessment.demand, state.recorded.recent_moves, now)
    budget = budget_account(context)
    keys = assessment.label_keys | move_label_keys(context) | label_keys(context.next_pods)
    opened = open_account(context, budget, pending, keys)

    # 5. Send overflowing pods to standbys, in order of priority and age.
    bursts = plan_bursts(context, opened, pending, survey)

    # 6. Move running pods: failover, reschedule, failback.
    moves = plan_moves(context, opened.account, pending, budget, bursts.stuck, most_blocked=most_blocked)

    # 7. Open or close admission by the rest of the account.
    targets = {move.target for move in moves.moves} | {move.target for move in pending.awaiting}
    admission = admission_of(context, opened.account, targets)

    # 8. Quarantine failing nodes, unless too many providers have failed at once.
    quarantine = None if assessment.exceeded else quarantine_of(assessment, context.resource)

    # 9. Correct the labels of bound pods. Bursts are more urgent.
    fixes = () if bursts.bursts else label_fixes(context.pool, assessment.supplies)

    # 10. Find the next recheck, and make the plan.
    holds = (*assessment.demand.held, *bursts.holds)
    drained = DrainedRoom(context, budget)
    short = shortage_of(drained.without_hopeless(bursts.holds), context.spec, state.memory.shortage, now)
    missed = drained.missed(bursts.holds, moves.blocked, state.memory.missed_drain)
    refused = refused_providers(snapshot, state.memory.refused, now)
    times = (
        short.recheck_at,
        None if missed is None or missed.seen_at == now else missed.seen_at + CLEAR_SECONDS,
        # The next pass stops the drill of a provider that such pods wait for.
        now + SETTLE_SECONDS
        if missed is not None and any(map(assessment.drills.is_under_way, missed.providers))
        else None,
        hold_ends_at(admission),
        *recheck_times(snapshot, refused),
        *(hold.until for hold in holds),
        *(overflow.until for overflow in assessment.demand.overflow),
    )
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
        leases_to_read=assessment.health.to_read,
        recheck_at=soonest(now, (assessment.recheck_at, moves.recheck_at, budget.recheck_at, *times)),
    )

    # 11. Check the invariants. A breach fails the pass, and nothing of the plan is carried out.
    check_invariants(context, budget, plan)
    decided = _Decided(opened.waiting.fitting, admission, budget, moves, short.shortage, missed, refused)
    return Reconciled(assessment, plan, _next_state(state, assessment, decided), bursts.survey)


def _frozen(snapshot: Snapshot, assessment: Assessment) -> str:
    """Return why the pass freezes; empty if it does not. Invariant 4: missing or stale data freezes the pool."""
    if snapshot.stale or assessment.all_silent:
        return snapshot.stale or assessment.all_silent
    if not assessment.primary.known and assessment.primary.breaker.closed:
        # If the breaker is not closed, the primary was known before, and its nodes may be gone because it failed.
        name = assessment.primary.provider.name
        return (
            f"no node matches the nodeSelector of the primary {name!r}: check its labels, "
            "or set capacity.type to OnDemand if its nodes are made on demand"
        )
    if not assessment.primary.countable and assessment.primary.breaker.closed:
        name, resource = assessment.primary.provider.name, snapshot.pool.spec.accelerator.resource_name
        return (
            f"the nodes of the primary {name!r} serve {resource} by dynamic resource allocation (DRA), and this "
            "version can't count such accelerators: serve them by a device plugin, or delete the pool"
        )
    return ""


def _freeze(snapshot: Snapshot, assessment: Assessment, state: PoolState, reason: str, now: float) -> Reconciled:
    plan = Plan(
        holds=tuple(Hold(pod, Reason.FROZEN) for pod in snapshot.waiting),
        frozen=reason,
        leases_to_read=assessment.health.to_read,
        recheck_at=now + RECHECK_SECONDS if snapshot.stale else assessment.recheck_at,
    )
    return Reconciled(assessment, plan, _next_state(state, assessment, None))


class _Decided(msgspec.Struct, frozen=True):
    """The decisions of a pass that go into the next state."""

    fitting: Mapping[tuple[str, str], float]
    admission: Admission
    budget: BudgetAccount
    moves: MovePlan
    shortage: Shortage | None
    missed_drain: MissedDrain | None
    refused: Mapping[str, RefusedProvider]


def _next_state(before: PoolState, assessment: Assessment, decided: _Decided | None) -> PoolState:
    """Return the state for the next pass. `decided`: None while the pool is frozen.

    A frozen pool keeps its saturation, admission, spend and recent moves, but the timers of saturation and places start
    anew. Health and breakers always come from the assessment, which keeps earlier verdicts while it can see nothing.
    """
    breakers = {name: breaker for name, breaker in assessment.breakers.of.items() if breaker != Breaker()}
    hold_offs = assessment.breakers.hold_offs.kept
    memory = Memory(
        node_faults=assessment.health.nodes,
        breaker_timers=assessment.breakers.timers,
        not_bound=assessment.breakers.not_bound,
        last_bound_offer=assessment.breakers.last_bound_offer,
        failed_pods=assessment.breakers.hold_offs.failed_pods,
        joined=assessment.health.joined,
        moved_before=before.memory.moved_before,
        rate=before.memory.rate,
        failed_at=before.memory.failed_at,
        moved_well=before.memory.moved_well,
        starting_since=assessment.starting_since,
        # While nothing can be judged, signals stay on, and their timers start anew.
        signals={
            key: msgspec.structs.replace(signal, since=None)
            for key, signal in before.memory.signals.items()
            if signal.on
        },
        signal_definitions=before.memory.signal_definitions,
        demand=assessment.forecast.history,
        standby_ready=assessment.forecast.ready,
        forecast_until=assessment.forecast.open_until,
        shortage=before.memory.shortage,
        missed_drain=before.memory.missed_drain,
        refused=before.memory.refused,
    )
    if decided is None:
        recorded = msgspec.structs.replace(
            before.recorded, breakers=breakers, hold_offs=hold_offs, drills=assessment.drills.of
        )
        return PoolState(recorded, memory)
    saturation, moves = assessment.saturation, decided.moves
    recorded = Recorded(
        saturated=saturation.without_signals,
        signals_on=assessment.signals.recorded,
        admitting=decided.admission.provider,
        held_by=decided.admission.held_by,
        breakers=breakers,
        spend=decided.budget.spend,
        recent_moves=moves.recent_moves,
        unsettled=moves.outlook.unsettled,
        hold_offs=hold_offs,
        drills=assessment.drills.of,
        standby_ready_seconds=assessment.forecast.measured,
    )
    return PoolState(
        recorded,
        msgspec.structs.replace(
            memory,
            pressure_since=saturation.pressure_since,
            relief_since=saturation.relief_since,
            signals=assessment.signals.states,
            signal_definitions=assessment.signals.definitions,
            fitting={**assessment.demand.fitting, **decided.fitting},
            stable_since=moves.stable_since,
            moved_before=moves.moved_before,
            rate=decided.budget.rate,
            failed_at=moves.outlook.failed_at,
            moved_well=moves.outlook.moved_well,
            unknown_since=moves.unknown_since,
            shortage=decided.shortage,
            missed_drain=decided.missed_drain,
            refused=decided.refused,
            hold_over_since=decided.admission.over_since,
        ),
    )
