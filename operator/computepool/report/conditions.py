"""The conditions of a pool: Ready, Saturated, Bursting, Degraded, BudgetExhausted, Resilient."""

from collections.abc import Callable
from datetime import datetime

from computepool.assess.demand.saturation import percent
from computepool.model.api import Condition, ConditionStatus, Mode, OnExhausted
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.report.failing import drained, failed, held_back, no_window, refused, stranded
from computepool.report.pass_report import PassReport
from computepool.report.sicknodes import sick_nodes
from computepool.report.trouble import Trouble, full_stop, told

READY, SATURATED, BURSTING, DEGRADED, RESILIENT = "Ready", "Saturated", "Bursting", "Degraded", "Resilient"
BUDGET_EXHAUSTED = "BudgetExhausted"

Verdict = tuple[ConditionStatus, Reason, str]
_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def conditions_of(outcome: PassReport, before: tuple[Condition, ...], now: datetime) -> tuple[Condition, ...]:
    """Return all conditions; each keeps its transition time while its status stays."""
    generation = outcome.snapshot.pool.metadata.generation
    return tuple(condition(kind, judge(outcome), generation, before, now) for kind, judge in _JUDGES.items())


def condition(kind: str, verdict: Verdict, generation: int, before: tuple[Condition, ...], now: datetime) -> Condition:
    """Write one condition; its transition time is kept from `before` while its status stays."""
    status, reason, message = verdict
    old = next((c for c in before if c.type == kind), None)
    since = old.last_transition_time if old is not None and old.status is status else now
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )


def _ready(outcome: PassReport) -> Verdict:
    if outcome.snapshot.stale:
        return _UNKNOWN, Reason.CACHE_STALE, full_stop(outcome.snapshot.stale)
    if outcome.assessment.all_silent:
        return _UNKNOWN, Reason.ALL_SILENT, full_stop(outcome.assessment.all_silent)
    if outcome.plan.frozen:
        return _FALSE, Reason.NO_NODES_MATCH, full_stop(outcome.plan.frozen)
    if outcome.snapshot.pool.spec.mode is Mode.OBSERVE:
        return _TRUE, Reason.OBSERVING, Reason.OBSERVING.help
    return _TRUE, Reason.RECONCILED, " ".join(filter(None, (Reason.RECONCILED.help, outcome.unadmitted)))


def _saturated(outcome: PassReport) -> Verdict:
    saturation = outcome.assessment.saturation
    primary = outcome.assessment.primary
    if outcome.plan.frozen or saturation.saturated is None:
        return _UNKNOWN, Reason.PRIMARY_UNKNOWN, Reason.PRIMARY_UNKNOWN.help
    if primary.allocatable:
        used = (
            f"{whole(primary.allocated)} of {whole(primary.allocatable)} accelerators allocated ({percent(primary)} %)"
        )
    else:
        used = "no accelerator can be used now"
    message = f"{primary.provider.name}: {used}. {saturation.reason.help}"
    return (_TRUE if saturation.saturated else _FALSE), saturation.reason, message


def _bursting(outcome: PassReport) -> Verdict:
    away = {s.provider.name: s.pods for s in outcome.assessment.supplies[1:] if s.pods}
    if not away:
        return _FALSE, Reason.NO_BURST_PODS, Reason.NO_BURST_PODS.help
    where = ", ".join(f"{count} on {name}" for name, count in away.items())
    return _TRUE, Reason.PODS_ON_STANDBY, f"{sum(away.values())} pod(s) run on a standby provider: {where}."


def _degraded(outcome: PassReport) -> Verdict:
    """Return the worst trouble that a person can do something about, and all others in short.

    Sick nodes of providers in use are named, and degrade nothing by themselves: their pods are moved, and nobody is to
    be woken for one node in a hundred.
    """
    troubles = [found for trouble in _TROUBLES if (found := trouble(outcome)) is not None]
    unhealthy = sick_nodes(outcome)
    if troubles:
        return _TRUE, troubles[0].reason, told([*troubles, unhealthy] if unhealthy else troubles)
    if outcome.snapshot.stale:
        return _UNKNOWN, Reason.CACHE_STALE, full_stop(outcome.snapshot.stale)
    if outcome.assessment.all_silent:
        return _UNKNOWN, Reason.ALL_SILENT, full_stop(outcome.assessment.all_silent)
    return (
        (_FALSE, unhealthy.reason, unhealthy.message) if unhealthy else (_FALSE, Reason.ALL_WELL, Reason.ALL_WELL.help)
    )


def _refusal(outcome: PassReport) -> Trouble | None:
    return Trouble(Reason.WRITE_REFUSED, outcome.refused, outcome.refused) if outcome.refused else None


def _unreadable(outcome: PassReport) -> Trouble | None:
    what = outcome.unreadable
    if not what:
        return None
    return Trouble(
        Reason.OBJECTS_UNREADABLE,
        f"{what}. It is left out of all that is counted: put it right, or use a newer operator.",
        what,
    )


def _unfollowed(outcome: PassReport) -> Trouble | None:
    what = outcome.unfollowed
    return Trouble(Reason.SIGNALS_MISSING, f"{what}. Everything else goes on.", what) if what else None


def _contest(outcome: PassReport) -> Trouble | None:
    snapshot = outcome.snapshot
    if not snapshot.conflicts:
        return None
    return Trouble(
        Reason.CLAIMED_BY_OLDER_POOL,
        # Without their number: it moves with every pod that comes and goes, and the status with it.
        f"pods that it selects belong to the older pool {snapshot.conflicting_pool!r}, which selects them too: "
        "narrow spec.workloads of one of the two. Until then this pool admits nobody at creation.",
        f"pods belong to {snapshot.conflicting_pool!r}",
    )


def _doubles(outcome: PassReport) -> Trouble | None:
    count = outcome.assessment.overlapping_nodes
    if not count:
        return None
    return Trouble(
        Reason.NODES_CLAIMED_TWICE,
        f"{count} node(s) match the nodeSelector of more than one provider and count for the first: make them "
        "disjoint.",
        f"{count} node(s)",
    )


def _missing_accelerator(outcome: PassReport) -> Trouble | None:
    resource = outcome.snapshot.pool.spec.accelerator.resource_name
    nodes = [info.node for supply in outcome.assessment.supplies for info in supply.nodes]
    if not nodes or any(resource in node.capacity or resource in node.allocatable for node in nodes):
        return None
    return Trouble(
        Reason.ACCELERATOR_NOT_FOUND,
        f"none of the {len(nodes)} node(s) of its providers offers {resource!r}: "
        "check spec.accelerator.resourceName and the device plugin on the nodes.",
        f"no node offers {resource!r}",
    )


def _missing_nodes(outcome: PassReport) -> Trouble | None:
    empty = [s.provider.name for s in outcome.assessment.supplies if not s.nodes and not s.provider.kind.before_room]
    if not empty:
        return None
    names = ", ".join(empty)
    return Trouble(
        Reason.NO_NODES_MATCH,
        f"no node matches the nodeSelector of provider(s) {names}: check the nodes' labels "
        "(kubectl get nodes --show-labels), or set capacity.type to OnDemand if an autoscaler makes them.",
        f"provider(s) {names}",
    )


def _missing_policy(outcome: PassReport) -> Trouble | None:
    if not outcome.policy_missing:
        return None
    return Trouble(Reason.POLICY_MISSING, Reason.POLICY_MISSING.help, "pods are burst by patching alone")


def _budget_exhausted(outcome: PassReport) -> Verdict:
    budget = outcome.snapshot.pool.spec.budget
    if budget is None:
        return _FALSE, Reason.NO_BUDGET, Reason.NO_BUDGET.help
    if not outcome.plan.exhausted:
        return _FALSE, Reason.WITHIN_BUDGET, Reason.WITHIN_BUDGET.help
    bounds = [("an hour", budget.per_hour), ("a day", budget.per_day)]
    allowed = " and ".join(f"{amount} {span}" for span, amount in bounds if amount is not None)
    running = "are brought home as there is room" if budget.on_exhausted is OnExhausted.RETURN else "go on, and cost"
    return _TRUE, Reason.BUDGET_EXHAUSTED, f"{Reason.BUDGET_EXHAUSTED.help} It is {allowed}; pods there {running}."


def _resilient(outcome: PassReport) -> Verdict:
    if outcome.snapshot.stale:
        return _UNKNOWN, Reason.CACHE_STALE, Reason.CACHE_STALE.help
    if outcome.plan.exhausted:
        # Whatever room there is, no pod may have it.
        return _FALSE, Reason.BUDGET_EXHAUSTED, Reason.BUDGET_EXHAUSTED.help
    standbys = [s for s in outcome.assessment.supplies[1:] if s.breaker.closed]
    free = {s.provider.name: s.free // MILLI for s in standbys if s.free >= MILLI}
    growing = [s.provider for s in standbys if s.provider.kind.room_is_made_by]
    if not free and not growing:
        return _FALSE, Reason.NO_STANDBY_ROOM, Reason.NO_STANDBY_ROOM.help
    parts = ["free accelerators: " + ", ".join(f"{count} on {name}" for name, count in free.items())] if free else []
    parts += [f"{target.name} {target.kind.room_is_made_by}" for target in growing]
    return _TRUE, Reason.STANDBY_HAS_ROOM, f"{'; '.join(parts)}."


_TROUBLES: tuple[Callable[[PassReport], Trouble | None], ...] = (
    held_back,
    _refusal,
    _unreadable,
    failed,
    refused,
    stranded,
    drained,
    _contest,
    _doubles,
    _missing_accelerator,
    _missing_nodes,
    no_window,
    _unfollowed,
    _missing_policy,
)
_JUDGES: dict[str, Callable[[PassReport], Verdict]] = {
    READY: _ready,
    SATURATED: _saturated,
    BURSTING: _bursting,
    DEGRADED: _degraded,
    BUDGET_EXHAUSTED: _budget_exhausted,
    RESILIENT: _resilient,
}
