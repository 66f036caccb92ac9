"""Checks the invariants of every plan, in production too.

A breach is a defect of the operator. The whole pass fails: the operator carries out nothing of the plan, and logs and
counts the breach. Invariants have the numbers of ARCHITECTURE.md. The checks read only the plan, the snapshot and the
assessment; they count independently of the account.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from math import inf
from typing import Final

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.decide.account.budget import NOTHING, BudgetAccount, cost_of
from computepool.decide.context import Context
from computepool.decide.move.owned_pods import NO_PODS, owned_pods
from computepool.decide.move.owner_history import FIRST_DELAY_SECONDS, FIRST_OWNERS, SHARE
from computepool.decide.move.pending_moves import FORCED, HOMEWARD
from computepool.decide.plan import Burst, Move, Plan
from computepool.model.accelerators import accelerators_of, request_of, requested_by
from computepool.model.api import AdmissionMode, BreakerState, ForecastMode, Mode, RunningPods
from computepool.model.cluster import Pod, Shape
from computepool.model.demand import MINUTE
from computepool.model.moves import MoveKind, Outcome
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.taints import tolerance_of

CHECKED: Final = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
"""The numbers of the invariants that are checked."""
_SHAPES: Final = 2
"""For how many kinds of pods the order at admission is checked."""


class Breach(msgspec.Struct, frozen=True):
    """One invariant that a plan breaks."""

    invariant: int
    """Its number in ARCHITECTURE.md."""
    facts: str
    """The decision, and the facts that it contradicts."""


class InvariantBreachError(Exception):
    """A plan that must not be carried out."""

    def __init__(self, breaches: tuple[Breach, ...]) -> None:
        """`breaches`: at least one."""
        super().__init__("; ".join(f"invariant {breach.invariant}: {breach.facts}" for breach in breaches))
        self.breaches = breaches


def check_invariants(context: Context, budget: BudgetAccount, plan: Plan) -> None:
    """Raise InvariantBreachError if the plan breaks an invariant. `budget`: with which the account was opened."""
    checked = _Checked(context, budget, plan)
    breaches = tuple(breach for check in _CHECKS for breach in check(checked))
    if breaches:
        raise InvariantBreachError(breaches)


class _Checked:
    """A plan, with sums that several checks need."""

    def __init__(self, context: Context, budget: BudgetAccount, plan: Plan) -> None:
        self.context = context
        self.budget = budget
        self.plan = plan
        self.providers = {provider.name: provider for provider in (context.primary, *context.standbys)}
        self.new: Counter[str] = Counter()
        """By provider: thousandths of the accelerator that its bursts and moves request."""
        self.arrivals: Counter[str] = Counter()
        """By provider: number of its bursts and moves."""
        for decided, provider in self.decided():
            self.new[provider] += request_of(decided.pod, context.resource)
            self.arrivals[provider] += 1

    def decided(self) -> Iterable[tuple[Burst | Move, str]]:
        """Yield every burst and move with the name of its provider."""
        yield from ((burst, burst.provider) for burst in self.plan.bursts)
        yield from ((move, move.target) for move in self.plan.moves)

    def hands_over(self, move: Move) -> bool:
        """Say whether the replacement takes over the moved pod's devices on the same provider."""
        return move.source == move.target and move.pod.node not in self.context.lost_nodes


def _preferred_first(checked: _Checked) -> Iterable[Breach]:
    """Invariant 1: all preferred providers have rejected a pod that is burst."""
    primary, standbys = checked.context.primary.name, [standby.name for standby in checked.context.standbys]
    before = {name: [primary, *standbys[:index]] for index, name in enumerate(standbys)}
    for burst in checked.plan.bursts:
        if [name for name, _ in burst.rejected] != before.get(burst.provider):
            yield Breach(1, f"{_name(burst.pod)} is burst to {burst.provider}, but the rejections are {burst.rejected}")


def _only_what_fits(checked: _Checked) -> Iterable[Breach]:
    """Invariant 2 (and 5): the pods that go to a provider request at most its free accelerators.

    Pods that are sent to preempt others also count on accelerators that pods of lower priority hold there.
    """
    for name, amount in checked.new.items():
        supply = checked.context.assessment.supply(name)
        preempting = [burst.pod for burst in checked.plan.bursts if burst.provider == name and _preempts(burst)]
        beside = amount - requested_by(preempting, checked.context.resource)
        # A pod that names its node may go to a node that is closed to the other pods of the pool.
        usable = () if supply is None else supply.usable
        free = sum(accelerators_of(info, checked.context.resource).free for info in usable)
        lower = _lower_priority(supply, preempting, checked.context.resource) if supply is not None else 0
        full = beside > free or amount > free + lower
        if name not in checked.providers or (not checked.providers[name].kind.before_room and full):
            yield Breach(2, f"pods that request {amount} thousandths go to {name}, where {free} are free")


def _trusted_only(checked: _Checked) -> Iterable[Breach]:
    """Invariant 2: no pod goes to an open provider, and at most one pod goes to a half-open provider."""
    for name, pods in checked.arrivals.items():
        supply = checked.context.assessment.supply(name)
        if supply is None or supply.breaker.state is BreakerState.OPEN:
            yield Breach(2, f"{pods} pods go to {name}, whose breaker is open")
        elif supply.breaker.state is BreakerState.HALF_OPEN and pods > 1:
            yield Breach(2, f"{pods} pods go to {name}, which is half-open and takes a single pod")


def _within_limits(checked: _Checked) -> Iterable[Breach]:
    """Invariant 3: the plan exceeds no maxAccelerators."""
    context = checked.context
    for standby in context.standbys:
        added = checked.new[standby.name] - requested_by(
            (move.pod for move in checked.plan.moves if move.target == standby.name and checked.hands_over(move)),
            context.resource,
        )
        if standby.limit is not None and added > 0 and added > _allowance(context, standby):
            yield Breach(3, f"{added} thousandths are added to {standby.name} beyond capacity.maxAccelerators")


def _within_budget(checked: _Checked) -> Iterable[Breach]:
    """Invariant 3: the plan stays within the budget."""
    costs = [_cost(checked, decided, provider) for decided, provider in checked.decided() if checked.budget.spend]
    remaining = checked.budget.remaining
    if remaining is not None and any(cost > 0 for cost in costs) and sum(costs, NOTHING) > remaining:
        yield Breach(3, f"the hourly cost grows by {sum(costs, NOTHING)}, and the budget allows {remaining}")


def _counted_admission(checked: _Checked) -> Iterable[Breach]:
    """Invariants 3 and 4: admission lists only a closed provider without limits, and only when the pool opens it."""
    context, admitted = checked.context, checked.plan.admission.provider
    if not admitted:
        return
    provider, supply = checked.providers.get(admitted), context.assessment.supply(admitted)
    bounded = provider is None or provider.primary or provider.limit is not None or context.spec.budget is not None
    if bounded or supply is None or not supply.breaker.closed:
        yield Breach(3, f"admission lists {admitted}, which has limits or a breaker that is not closed")
    always = context.spec.admission.mode is AdmissionMode.ALWAYS
    opened = always or context.assessment.saturation.saturated is True or _is_foreseen(context)
    if not opened or context.spec.mode is Mode.OBSERVE:
        yield Breach(4, f"admission lists {admitted} although the primary is not known to be saturated, now or soon")


def _admission_in_order(checked: _Checked) -> Iterable[Breach]:
    """Invariant 1: admission lists no standby while a more preferred standby, whose breaker is closed, takes pods."""
    context, admitted = checked.context, checked.plan.admission.provider
    names = [standby.name for standby in context.standbys]
    if admitted not in names:
        return
    for standby in context.standbys[: names.index(admitted)]:
        supply = context.assessment.supply(standby.name)
        if supply is not None and supply.breaker.closed and _takes_more(checked, supply):
            yield Breach(1, f"admission lists {admitted}, and the more preferred {standby.name} takes pods")


def _takes_more(checked: _Checked, supply: Supply) -> bool:
    """Say whether a standby surely takes one more pod, even if every pod that may be on its way has taken a place."""
    standby, context = supply.provider, checked.context
    moved = [move.pod for move in context.snapshot.moves]
    allowance: float = inf
    if standby.limit is not None:
        allowance = _allowance(context, standby) - checked.new[standby.name] - requested_by(moved, context.resource)
    waiting = (pod for pod in context.snapshot.waiting if pod.node_bound or context.may_land_on(pod, standby))
    sent = (decided.pod for decided, provider in checked.decided() if provider == standby.name)
    coming = [pod.shape for pod in (*waiting, *sent, *context.snapshot.foreign, *moved)]
    wanted = (shape for shape in _next_shapes(context, standby) if request_of(shape, context.resource) <= allowance)
    return any(_has_place(context, supply, shape, coming) for shape in wanted)


def _next_shapes(context: Context, standby: Provider) -> Sequence[Shape]:
    """Return the shapes of the smallest of the pool's next pods that may go to a standby; without pods, an accelerator.

    A few are enough: this runs in every pass, and finds a defect of the planner if there is one.
    """
    if not context.next_pods:
        return [Shape(((context.resource, MILLI),))]
    hold_offs = context.assessment.breakers.hold_offs
    held_off = hold_offs.blocking.keys() | hold_offs.due.keys()
    pods = (pod for pod in context.next_pods if pod.allows(standby.name))
    return [pod.shape for pod in pods if held_off.isdisjoint(hold_offs.keys_of(pod, standby.name))][:_SHAPES]


def _has_place(context: Context, supply: Supply, shape: Shape, coming: Iterable[Shape]) -> bool:
    """Say whether a pod of the shape surely has a place beside pods that are coming, wherever these take theirs."""
    standby = supply.provider
    if standby.kind.before_room:
        # Selectors might exclude the nodes that it makes.
        return not shape.node_selector and shape.affinity is None
    tolerates = tolerance_of(shape.tolerations + standby.tolerations)
    places = 0
    for info in supply.usable:
        node, left = info.node, info.left
        count = min(left.get(name, 0) // amount for name, amount in shape.requests)
        is_open = count > 0 and node.name not in supply.closed and shape.admits(node.name, node.labels)
        # Without pods, nodes are open whose taints the next pods will tolerate.
        if is_open and (not context.next_pods or tolerates(node.taints)):
            places += count
    return places > 0 and places > sum(_taken_by(other, shape) for other in coming)


def _taken_by(other: Shape, shape: Shape) -> int:
    """Return how many places for pods of a shape another pod takes at most."""
    amounts = dict(other.requests)
    return max(-(-amounts.get(name, 0) // amount) for name, amount in shape.requests)


def _is_foreseen(context: Context) -> bool:
    """Say whether a forecast opens admission, in a pool that lets it, by a whole window of demand."""
    spec, forecast = context.spec.forecast, context.assessment.forecast
    if spec.mode is not ForecastMode.ACT or forecast.history is None or forecast.history.seen_at < context.now:
        return False
    return forecast.opens_admission and forecast.history.since <= context.now - spec.window_minutes * MINUTE


def _held_back(checked: _Checked) -> Iterable[Breach]:
    """Invariant 4: while too many providers have failed at once, no pod is moved and no node quarantined."""
    plan = checked.plan
    if plan.held_back and (plan.moves or plan.quarantine is not None):
        yield Breach(4, f"{len(plan.moves)} pods are moved, or nodes quarantined, although {plan.held_back}")


def _reason_to_leave(checked: _Checked) -> Iterable[Breach]:
    """Invariants 4, 5 and 12: failover is from a node or provider known to fail, and from no doubt if the pod is ready.

    Failback is to a primary known to be free.
    """
    context = checked.context
    for move in checked.plan.moves:
        source = context.assessment.supply(move.source)
        unhealthy = source is not None and move.pod.node in source.unhealthy
        if move.reason is Reason.WORKLOAD_BACK_OFF and move.pod.never_accepted:
            continue
        match move.kind:
            case MoveKind.FAILOVER if not unhealthy and (source is None or source.breaker.closed):
                yield Breach(4, f"{_name(move.pod)} leaves node {move.pod.node}, but node and provider are healthy")
            case MoveKind.FAILOVER if source is not None and _is_only_doubted(context, source, move.pod):
                yield Breach(12, f"{_name(move.pod)} is ready and leaves {move.pod.node} without a proven fault")
            case MoveKind.FAILBACK if move.target != context.primary.name or not _is_home_free(context):
                yield Breach(4, f"{_name(move.pod)} comes home to {move.target}, which is not known to be free")


def _few_moves(checked: _Checked) -> Iterable[Breach]:
    """Invariant 6: one pass begins at most maxConcurrentMoves moves."""
    spec = checked.context.spec
    for kinds, most in ((FORCED, spec.failover.max_concurrent_moves), (HOMEWARD, spec.failback.max_concurrent_moves)):
        count = sum(1 for move in checked.plan.moves if move.kind in kinds)
        if count > most:
            yield Breach(6, f"{count} moves begin, and maxConcurrentMoves is {most}")


def _after_good_ends(checked: _Checked) -> Iterable[Breach]:
    """Invariant 11: a move by choice follows no move of its owner that came to nothing or whose end is not known."""
    chosen = Counter(move.pod.owner for move in checked.plan.moves if move.by_choice and move.pod.owner)
    if not chosen:
        return
    snapshot = checked.context.snapshot
    moves = [move for move in snapshot.moves if move.pod.owner in chosen]
    under_way = Counter(move.pod.owner for move in moves if move.awaits_ready)
    well = {move.pod.owner for move in moves if move.ended_well} | checked.context.state.memory.moved_well
    at_once_by = {owner: count + under_way[owner] for owner, count in chosen.items()}
    several = any(at_once > 1 for at_once in at_once_by.values())
    owned = owned_pods(snapshot, checked.context.pool) if several else {}
    for owner, at_once in at_once_by.items():
        if at_once > 1 and (owner not in well or at_once > owned.get(owner, NO_PODS).count // SHARE):
            yield Breach(11, f"{at_once} pods of the owner {owner} are under way at once")
    ended = sorted((move for move in moves if move.ended_well or move.came_to_nothing), key=lambda move: move.at)
    for move in {move.pod.owner: move for move in ended}.values():
        if move.came_to_nothing and checked.context.now < move.at + FIRST_DELAY_SECONDS:
            yield Breach(11, f"a pod of the owner of {_name(move.pod)} moves, whose move came to nothing")


def _after_good_ends_nearby(checked: _Checked) -> Iterable[Breach]:
    """Invariant 11: a move by choice of an owner that has not moved well follows no two failures in its namespace."""
    chosen = [move for move in checked.plan.moves if move.by_choice and move.pod.owner]
    if not chosen:
        return
    before = sorted(checked.context.snapshot.moves, key=lambda move: move.at)
    well = {moved.pod.owner for moved in before if moved.ended_well} | checked.context.state.memory.moved_well
    failed: dict[str, dict[str, float]] = {}
    """By namespace and owner: when its last move that came to nothing began, since a move there ended well."""
    for moved in before:
        owners = failed.setdefault(moved.pod.namespace, {})
        if moved.by_choice and moved.ended_well:
            owners.clear()
        elif moved.came_to_nothing and moved.pod.owner and moved.outcome is not Outcome.LOST and not moved.unwanted:
            owners[moved.pod.owner] = moved.at
    for move in (move for move in chosen if move.pod.owner not in well):
        lately = failed.get(move.pod.namespace, {})
        if len(lately) >= FIRST_OWNERS and checked.context.now < max(lately.values()) + FIRST_DELAY_SECONDS:
            yield Breach(11, f"{_name(move.pod)} moves, and moves of {len(lately)} owners there came to nothing")


def _each_pod_once(checked: _Checked) -> Iterable[Breach]:
    """Invariant 8: a plan has one action for a pod at most, and none while it terminates or its patch is under way."""
    plan, snapshot = checked.plan, checked.context.snapshot
    seen: set[str] = set()
    for decided, _ in checked.decided():
        pod = decided.pod
        if pod.uid in seen or pod.deleting is not None or pod.uid in snapshot.in_flight:
            yield Breach(8, f"{_name(pod)} has two actions, or one while it terminates or is being patched")
        seen.add(pod.uid)
    if any(burst.pod.node or burst.pod.gated for burst in plan.bursts) or any(not move.pod.node for move in plan.moves):
        yield Breach(8, "a bound or gated pod is burst, or a pending pod is moved")


def _own_only(checked: _Checked) -> Iterable[Breach]:
    """Invariant 9: the plan quarantines only nodes of the pool."""
    quarantine = checked.plan.quarantine
    if quarantine:
        own = {info.node.name for info in checked.context.snapshot.nodes}
        if not own.issuperset(quarantine):
            yield Breach(9, f"nodes outside the pool are quarantined: {sorted(quarantine.keys() - own)}")


_CHECKS: Final[tuple[Callable[[_Checked], Iterable[Breach]], ...]] = (
    _preferred_first,
    _only_what_fits,
    _trusted_only,
    _within_limits,
    _within_budget,
    _counted_admission,
    _admission_in_order,
    _held_back,
    _reason_to_leave,
    _few_moves,
    _after_good_ends,
    _after_good_ends_nearby,
    _each_pod_once,
    _own_only,
)


def _allowance(context: Context, standby: Provider) -> int:
    supply = context.assessment.supply(standby.name)
    pods = (*context.snapshot.waiting, *context.snapshot.on_unknown_nodes)
    expected = requested_by((pod for pod in pods if context.may_land_on(pod, standby)), context.resource)
    return (standby.limit or 0) - (supply.held if supply is not None else 0) - expected


def _cost(checked: _Checked, decided: Burst | Move, provider: str) -> Decimal:
    resource = checked.context.resource
    cost = cost_of(checked.providers[provider], decided.pod, resource)
    if isinstance(decided, Move) and decided.source in checked.providers:
        cost -= cost_of(checked.providers[decided.source], decided.pod, resource)
    return cost


def _is_only_doubted(context: Context, source: Supply, pod: Pod) -> bool:
    """Say whether the pod is ready, and no fault that harms it is proven of its node or provider."""
    emptied = source.provider.drain and source.provider.running_pods is RunningPods.MOVE
    if not pod.ready or emptied:
        return False
    health = context.assessment.health.providers[source.provider.name]
    fault = health.unhealthy.get(pod.node)
    harmed = fault is not None and fault.present and fault.confirmed and fault.reason is not Reason.BLACK_HOLE
    return not harmed and not health.confirmed


def _preempts(burst: Burst) -> bool:
    return burst.reason is Reason.SENT_TO_PREEMPT


def _lower_priority(supply: Supply, preempting: Iterable[Pod], resource: str) -> int:
    """Return what pods hold on a provider whose priority is below the highest of these pods."""
    highest = max((pod.priority for pod in preempting), default=None)
    if highest is None:
        return 0
    return requested_by((pod for info in supply.usable for pod in info.pods if pod.priority < highest), resource)


def _is_home_free(context: Context) -> bool:
    # A half-open primary counts as saturated, and takes one pod as its canary.
    assessment = context.assessment
    half_open = assessment.primary.breaker.state is BreakerState.HALF_OPEN
    return (half_open or assessment.saturation.saturated is False) and not assessment.keeps_away


def _name(pod: Pod) -> str:
    return f"pod {pod.namespace}/{pod.name}"
