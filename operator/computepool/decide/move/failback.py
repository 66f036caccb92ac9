"""Failback: brings pods home from standbys if the policy says so, or if the budget is spent.

A pod comes home only if the primary has been healthy and not saturated for stableSeconds, and no pod waits for it. Of
the accelerators that the pod can use there, headroomPercent stays free. A half-open primary takes exactly one pod, as
its canary. Invariant 4: an unknown verdict counts as not stable.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import FULL
from computepool.decide.account.budget import NOTHING, cost_of
from computepool.decide.move.failback_window import opening_of
from computepool.decide.move.failover import gives_up
from computepool.decide.move.planner import MoveCandidate, MovePlanner, Rejected
from computepool.model.accelerators import request_of
from computepool.model.api import BreakerState, FailbackPolicy, OnExhausted
from computepool.model.cluster import NodeInfo, Pod, Shape
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason

NEVER_HOME = frozenset({Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE})
"""Rejections of pods that can only run on a standby."""
_WAITS_FOR_PRIMARY = frozenset({Reason.FITS_ON_PREFERRED, Reason.SOON_FREE, Reason.NODE_STARTING})


def fail_back(planner: MovePlanner, excess: Decimal, stable_since: float | None) -> None:
    """Decide which pods come home.

    `excess`: hourly cost above the budget; `stable_since`: since when the primary is healthy and not saturated.
    """
    spec = planner.context.spec
    returning = _to_return(planner, excess)
    wanted = spec.failback.policy is FailbackPolicy.WHEN_STABLE
    if not wanted and not returning:
        return
    opening = opening_of(spec.failback.window, planner.context.now)
    candidates = _candidates(planner)
    if wanted and not opening.open:
        planner.blocked.recheck(opening.recheck_at)
        if not returning:
            _all_stay(planner, candidates, Reason.OUTSIDE_WINDOW, until=opening.recheck_at)
            return
    if not _may_begin(planner, candidates, stable_since):
        return
    for candidate in candidates:
        if returning > 0 and planner.cost(candidate) > 0:
            if _bring_home(planner, candidate, Reason.BUDGET_RETURN):
                returning -= planner.cost(candidate)
        elif wanted and opening.open:
            _bring_home(planner, candidate, Reason.COMES_HOME)
        elif wanted:
            planner.blocked.add(candidate.pod, Reason.OUTSIDE_WINDOW, until=opening.recheck_at)


def failback_infos(supplies: Sequence[Supply]) -> Iterable[NodeInfo]:
    """Yield the healthy standby nodes. Pods on other nodes are candidates for failover instead."""
    for supply in supplies[1:]:
        if not gives_up(supply):
            yield from (info for info in supply.nodes if info.node.name not in supply.unhealthy)


def _candidates(planner: MovePlanner) -> list[MoveCandidate]:
    """Return the pods on standbys whose selectors admit the primary, sorted by turn."""
    supplies = planner.context.assessment.supplies
    fits_home = _once_per_shape(lambda shape: not supplies[0].provider.contradicts(shape))
    found = [
        candidate
        for supply in supplies[1:]
        for candidate in planner.candidates(
            supply, [info for info in failback_infos((supplies[0], supply)) if info.shares]
        )
        if fits_home(candidate.pod.shape)
    ]
    return sorted(found, key=lambda candidate: (planner.retries.last_refused_at(candidate.pod.uid), _turn(candidate)))


def _once_per_shape(ask: Callable[[Shape], bool]) -> Callable[[Shape], bool]:
    answers: dict[int, bool] = {}

    def asked(shape: Shape) -> bool:
        key = id(shape)
        if key not in answers:
            answers[key] = ask(shape)
        return answers[key]

    return asked


def _to_return(planner: MovePlanner, excess: Decimal) -> Decimal:
    """Return the hourly cost on standbys that must end because the budget is spent."""
    context = planner.context
    budget = context.spec.budget
    if budget is None or budget.on_exhausted is not OnExhausted.RETURN:
        return NOTHING
    standbys = {standby.name: standby for standby in context.standbys}
    # The cost of pods whose moves are under way ends with them.
    leaving = (
        cost_of(standbys[move.source], move.pod, context.resource)
        for move in planner.pending.under_way
        if move.source in standbys
    )
    return max(NOTHING, excess - sum(leaving, NOTHING))


def _turn(candidate: MoveCandidate) -> tuple[object, ...]:
    """Sort the most expensive provider first, then the lowest priority, then the youngest."""
    price, pod = candidate.supply.provider.price, candidate.pod
    return (price is None, -(price or NOTHING), pod.priority, -pod.created, pod.namespace, pod.name, pod.uid)


def _may_begin(planner: MovePlanner, candidates: Sequence[MoveCandidate], stable_since: float | None) -> bool:
    """Say whether pods may come home now. If not, all candidates become blocked moves."""
    context = planner.context
    primary = context.assessment.primary
    # While a signal is Unknown nobody is the canary of a half-open primary either: it would prove nothing.
    if context.assessment.keeps_away or primary.breaker.state is BreakerState.OPEN:
        _all_stay(planner, candidates, Reason.NOT_STABLE)
        return False
    if primary.breaker.closed:
        due = None if stable_since is None else stable_since + context.spec.failback.stable_seconds
        if due is None or context.now < due:
            _all_stay(planner, candidates, Reason.NOT_STABLE, until=due)
            return False
    if _pod_waits(planner):
        _all_stay(planner, candidates, Reason.WOULD_STRAND, ((primary.provider.name, Reason.NO_ROOM),))
        return False
    return True


def _all_stay(
    planner: MovePlanner,
    candidates: Iterable[MoveCandidate],
    reason: Reason,
    rejected: Rejected = (),
    until: float | None = None,
) -> None:
    for candidate in candidates:
        planner.blocked.add(candidate.pod, reason, rejected, until)


def _pod_waits(planner: MovePlanner) -> bool:
    """Say whether a pending pod waits for the primary. Such pods go first."""
    demand, returning = planner.context.assessment.demand, planner.pending.returning
    fitting = [hold.pod for hold in demand.held if hold.reason in _WAITS_FOR_PRIMARY]
    fitting += [sent.pod for sent in demand.sent if sent.home is not None]
    fitting += [overflow.pod for overflow in demand.overflow if overflow.why in FULL and not overflow.confined]
    return any(pod.uid not in returning for pod in fitting)


def _bring_home(planner: MovePlanner, candidate: MoveCandidate, reason: Reason) -> bool:
    """Move one pod home if it may leave and the primary has a place. Say whether it moves."""
    home = planner.context.primary
    if not planner.may_leave(candidate, MoveKind.FAILBACK):
        return False
    if not _leaves_headroom(planner, candidate.pod):
        planner.blocked.add(candidate.pod, Reason.WOULD_STRAND, ((home.name, Reason.NO_ROOM),))
        return False
    target = planner.reserve_target(candidate, (home,))
    if isinstance(target, Provider):
        planner.move(candidate, target, MoveKind.FAILBACK, reason)
        return True
    if target[0][1] not in NEVER_HOME:
        planner.blocked.add(candidate.pod, Reason.WOULD_STRAND, target)
    return False


def _leaves_headroom(planner: MovePlanner, pod: Pod) -> bool:
    """Say whether enough of the primary stays free for pods like this pod. Nodes that exclude it are no headroom."""
    allocatable, free = planner.account.free_on_primary(pod)
    percent = planner.context.spec.failback.headroom_percent
    return not allocatable or 100 * (free - request_of(pod, planner.context.resource)) >= percent * allocatable
