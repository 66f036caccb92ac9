"""Pods on standbys are brought home, slowly: where the policy says so, and where the budget is spent.

Nobody is brought home unless the primary has been well and not saturated for stableSeconds, no pod waits for it, and
headroomPercent of it stays free. A half-open primary takes exactly one pod, as its canary. Invariant 4: a verdict that
is unknown counts as not stable.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from computepool.assess.overflow import FULL
from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.decide.budget import Purse
from computepool.decide.failover import gives_up
from computepool.decide.movement import Leaver, Movement, Rejected
from computepool.decide.relapses import Relapses
from computepool.decide.window import opening_of
from computepool.model.api import BreakerState, FailbackPolicy, OnExhausted
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.snapshot import MoveKind, NodeUse, Shape

NEVER_HOME = frozenset({Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE})
"""Rejections by the primary that make a standby the pod's only place."""


def fail_back(movement: Movement, purse: Purse, relapses: Relapses, stable_since: float | None) -> None:
    """Decide who comes home. `stable_since`: since when the primary is well and not saturated."""
    spec = movement.snapshot.pool.spec
    returning = _too_dear(movement, purse)
    wanted = spec.failback.policy is FailbackPolicy.WHEN_STABLE
    if not wanted and not returning:
        return
    opening = opening_of(spec.failback.window, movement.now)
    leavers = sorted(_leavers(movement), key=lambda one: (movement.governor.asked(one.pod.uid), _turn(one)))
    relapses.note((one.pod for one in leavers), stable_since)
    if wanted and not opening.open:
        movement.stays.later(opening.again)
        if not returning:
            _all_stay(movement, leavers, Reason.OUTSIDE_WINDOW, until=opening.again)
            return
    if not _may_come(movement, leavers, stable_since):
        return
    for one in leavers:
        if returning > 0 and movement.cost(one) > 0:
            if _comes(movement, one, relapses, Reason.BUDGET_RETURN):
                returning -= movement.cost(one)
        elif wanted and opening.open:
            _comes(movement, one, relapses, Reason.COMES_HOME)
        elif wanted:
            movement.stays.add(one.pod, Reason.OUTSIDE_WINDOW, until=opening.again)


def homecomers(supplies: Sequence[Supply]) -> Iterable[NodeUse]:
    """Yield the standby nodes that pods may be brought home from: failover has those that are in trouble."""
    for supply in supplies[1:]:
        if not gives_up(supply):
            yield from (use for use in supply.nodes if use.node.name not in supply.sick)


def _leavers(movement: Movement) -> list[Leaver]:
    """Return the pods on standbys that the primary could have by their own selectors."""
    supplies = movement.assessment.supplies
    fits_home = _once_per_shape(lambda shape: not supplies[0].target.contradicts(shape))
    return [
        one
        for supply in supplies[1:]
        for one in movement.leavers(supply, [use for use in homecomers((supplies[0], supply)) if use.shares])
        if fits_home(one.pod.shape)
    ]


def _once_per_shape(ask: Callable[[Shape], bool]) -> Callable[[Shape], bool]:
    answers: dict[int, bool] = {}

    def asked(shape: Shape) -> bool:
        key = id(shape)
        if key not in answers:
            answers[key] = ask(shape)
        return answers[key]

    return asked


def _too_dear(movement: Movement, purse: Purse) -> Decimal:
    budget = movement.snapshot.pool.spec.budget
    returns = budget is not None and budget.on_exhausted is OnExhausted.RETURN
    # Those that are on their way home already cost no more.
    flying = sum((_cost_of(movement, one.source, one.pod.shape) for one in movement.flights.under_way), Decimal(0))
    return max(Decimal(0), purse.over - flying) if returns else Decimal(0)


def _cost_of(movement: Movement, source: str, shape: Shape) -> Decimal:
    target = next((t for t in movement.room.standbys if t.name == source), None)
    return (
        Decimal(0)
        if target is None or target.price is None
        else (target.price * shape.request(movement.room.resource) / MILLI)
    )


def _turn(one: Leaver) -> tuple[object, ...]:
    """Sort the most expensive provider first, then the lowest priority, then the youngest."""
    price, pod = one.supply.target.price, one.pod
    return (price is None, -(price or Decimal(0)), pod.priority, -pod.created, pod.namespace, pod.name, pod.uid)


def _may_come(movement: Movement, leavers: Sequence[Leaver], stable_since: float | None) -> bool:
    """Say whether anybody may be brought home now; note why all stay otherwise."""
    primary = movement.assessment.primary
    if primary.breaker.state is BreakerState.OPEN:
        _all_stay(movement, leavers, Reason.NOT_STABLE)
        return False
    if primary.breaker.closed:
        due = None if stable_since is None else stable_since + movement.snapshot.pool.spec.failback.stable_seconds
        if due is None or movement.now < due:
            _all_stay(movement, leavers, Reason.NOT_STABLE, until=due)
            return False
    if _somebody_waits(movement):
        _all_stay(movement, leavers, Reason.WOULD_STRAND, ((primary.target.name, Reason.NO_ROOM),))
        return False
    return True


def _all_stay(
    movement: Movement,
    leavers: Iterable[Leaver],
    reason: Reason,
    rejected: Rejected = (),
    until: float | None = None,
) -> None:
    for one in leavers:
        movement.stays.add(one.pod, reason, rejected, until)


def _somebody_waits(movement: Movement) -> bool:
    """Say whether a pod waits that the primary could take, now or with more room: it goes first."""
    demand, homing = movement.assessment.demand, movement.flights.homing
    fitting = [h.pod for h in demand.held if h.reason in (Reason.FITS_ON_PREFERRED, Reason.SOON_FREE)]
    fitting += [sent.pod for sent in demand.sent if sent.home is not None]
    fitting += [one.pod for one in demand.overflow if one.why in FULL]
    return any(pod.uid not in homing for pod in fitting)


def _comes(movement: Movement, one: Leaver, relapses: Relapses, reason: Reason) -> bool:
    """Bring one pod home if it may leave and has a place; say whether it comes."""
    home = movement.assessment.primary.target
    until = relapses.until(one.pod)
    if until is not None:
        movement.stays.add(one.pod, Reason.COMES_BACK, until=until)
        return False
    if movement.held(one, MoveKind.FAILBACK):
        return False
    request = one.pod.shape.request(movement.room.resource)
    if movement.room.left_at_home() - request < _headroom(movement):
        movement.stays.add(one.pod, Reason.WOULD_STRAND, ((home.name, Reason.NO_ROOM),))
        return False
    target = movement.to(one, (home,))
    if isinstance(target, Target):
        movement.move(one, target, MoveKind.FAILBACK, reason)
        return True
    if target[0][1] not in NEVER_HOME:
        movement.stays.add(one.pod, Reason.WOULD_STRAND, target)
    return False


def _headroom(movement: Movement) -> int:
    """Return how many thousandths of the accelerator are to stay free on the primary, rounded up."""
    percent = movement.snapshot.pool.spec.failback.headroom_percent
    return -(-movement.assessment.primary.allocatable * percent // 100)
