"""Why a pod waits, and what would help: the words of the pod's events and of `computepool explain`."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from computepool.assess.breakers.canary import has_place
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import Hold
from computepool.decide.account.budget import cost_of, hourly_bound
from computepool.decide.burst.planner import LASTING
from computepool.decide.plan import BlockedMove
from computepool.model.accelerators import request_of
from computepool.model.api import UNAVAILABLE_KEY, Budget
from computepool.model.cluster import DEFAULT_SCHEDULER, Pod, Shape
from computepool.model.labels import Requirement
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.model.state import Spend
from computepool.model.taints import Taint, tolerated
from computepool.model.text import cut
from computepool.model.well_known_keys import KUEUE_PREFIX, PROVIDERS_ANNOTATION
from computepool.report.formatting import counted, listed
from computepool.report.pass_report import PassReport

NAMED_PROVIDERS: Final = 4
"""How many rejections a note has. A pool may have 16 providers, and a note is short."""
NAMED_PINS: Final = 3
MAX_PIN: Final = 100
"""Characters of a selector in a text. A user may write long ones."""
MAX_HELPS: Final = 4
_AFFINITY: Final = "required node affinity"
_UNCLEAR: Final = (Reason.WOULD_STRAND, Reason.NO_PROVIDER_LEFT)
_ROOM: Final = frozenset({Reason.NO_ROOM, Reason.NO_NODES, Reason.INSUFFICIENT_CAPACITY})


def main_reason(decision: BlockedMove | Hold) -> Reason:
    """Return the reason to report: BudgetExhausted where only the money is missing for a provider.

    A pod that its scheduler has not looked at waits for its scheduler.
    """
    reasons = {reason for _, reason in decision.rejected}
    if decision.reason in _UNCLEAR and Reason.BUDGET_EXHAUSTED in reasons:
        return Reason.BUDGET_EXHAUSTED
    return decision.reason


def event_reason(hold: Hold) -> Reason:
    """Return the reason of the event about a waiting pod."""
    not_bound = Reason.NOT_BOUND_IN_TIME in (hold.reason, *(why for _, why in hold.rejected))
    return Reason.SCHEDULER_SILENT if not_bound and not hold.pod.unschedulable else main_reason(hold)


def waiting_note(report: PassReport, hold: Hold) -> str:
    """Return the note of the event about a waiting pod: the reason, every rejection, and what would help."""
    reason = event_reason(hold)
    options = [f"{name}: {_rejection(report, hold, name, why)}" for name, why in hold.rejected]
    considered = f"{listed(options, NAMED_PROVIDERS)}." if options else ""
    return " ".join(filter(None, (_headline(report, hold, reason), considered, *helps(report, hold))))


def helps(report: PassReport, hold: Hold) -> tuple[str, ...]:
    """Return sentences that say what would help a waiting pod, at most MAX_HELPS."""
    by_reason: dict[Reason, list[str]] = {}
    for name, why in hold.rejected:
        by_reason.setdefault(why, []).append(name)
    found = [
        _money(report, hold.pod, by_reason.get(Reason.BUDGET_EXHAUSTED, ())),
        *pins(report, hold),
        _annotation(by_reason.get(Reason.NOT_ALLOWED, ())),
        *_tolerations(report, hold),
        _size(report, hold.pod, by_reason.get(Reason.TOO_LARGE, ())),
        _limit(report, hold.pod, by_reason.get(Reason.AT_MAX_ACCELERATORS, ())),
        _volumes(hold),
        _trial(by_reason.get(Reason.CANARY_UNDER_WAY, ())),
        _room([name for name, why in hold.rejected if why in _ROOM and not _offers_nothing(report, name, why)]),
    ]
    return tuple([text for text in found if text][:MAX_HELPS])


def pins(report: PassReport, hold: Hold) -> tuple[str, ...]:
    """Say which of the pod's own selectors exclude providers, and who has set them; empty if none does."""
    shape = hold.pod.shape
    supplies = [report.assessment.supply(name) for name, why in hold.rejected if why is Reason.PINNED]
    found = dict.fromkeys(pin for supply in supplies if supply is not None for pin in _pins(report, supply, shape))
    if not found:
        return ()
    affinity = f"The node affinity asks for {_terms(shape)}." if _AFFINITY in found and _terms(shape) else ""
    return (f"Pinned by its {' and its '.join(found)}.", *filter(None, (affinity, _kueue(hold))))


def _headline(report: PassReport, hold: Hold, reason: Reason) -> str:
    match reason:
        case Reason.SCHEDULER_ABSENT | Reason.SCHEDULER_SILENT:
            return f"The pod waits for the scheduler {hold.pod.shape.scheduler or DEFAULT_SCHEDULER!r}. {reason.help}"
        case Reason.FROZEN:
            return f"Nothing is decided about the pool's pods: {report.plan.frozen}."
        case Reason.NODE_BOUND:
            return reason.help
    never = all(why in LASTING for _, why in hold.rejected)
    return f"No provider of the pool can take the pod{'' if never else ' now'}."


def _rejection(report: PassReport, hold: Hold, name: str, why: Reason) -> str:
    """Say in a few words why a provider rejects a pod."""
    supply, resource = report.assessment.supply(name), report.snapshot.pool.spec.accelerator.resource_name
    if supply is None:
        return str(why)
    match why:
        case Reason.NO_ROOM if not supply.allocatable:
            return "none of its nodes offers the pool accelerators now"
        case Reason.NO_ROOM:
            free = f"{supply.free // MILLI} of {whole(supply.allocatable)} accelerators free"
            return f"full ({free})" if supply.free < MILLI else f"no node has room for the pod ({free})"
        case Reason.AT_MAX_ACCELERATORS:
            limit = (supply.provider.limit or 0) // MILLI
            return f"the pool may use {limit} accelerators there (capacity.maxAccelerators)"
        case Reason.BUDGET_EXHAUSTED:
            return "the budget does not allow another pod there"
        case Reason.NOT_ALLOWED:
            return "the pod's annotation computepool.io/providers does not list it"
        case Reason.PINNED:
            return f"excluded by the pod's {' and '.join(_pins(report, supply, hold.pod.shape))}"
        case Reason.TOO_LARGE if request_of(hold.pod, resource) > supply.largest > 0:
            return f"its largest node has {whole(supply.largest)} accelerators"
        case Reason.TAINTED:
            return f"the pod does not tolerate the taint {_named_taints(supply, hold.pod.shape)}"
    return _IN_WORDS.get(why, str(why))


def _offers_nothing(report: PassReport, name: str, why: Reason) -> bool:
    """Say whether a provider's nodes have no room because they have no accelerators at all, for now."""
    supply = report.assessment.supply(name)
    return why is Reason.NO_ROOM and supply is not None and not supply.allocatable


_IN_WORDS: Final = {
    Reason.TOO_LARGE: "none of its nodes is large enough for all that the pod requests",
    Reason.NO_NODES: "no node there is ready and schedulable",
    Reason.NODE_STARTING: "its new nodes are not ready yet",
    Reason.PROVIDER_UNAVAILABLE: "it has failed or is drained",
    Reason.CANARY_UNDER_WAY: "it is on trial with a first pod",
    Reason.INSUFFICIENT_CAPACITY: "it did not bind such pods in time",
    Reason.WORKLOAD_BACK_OFF: "pods of the workload have failed there",
    Reason.NOT_BOUND_IN_TIME: "it did not bind the pod in time",
    Reason.WRITE_REFUSED: "the API server refuses the patch that would send the pod there (Degraded says why)",
}


def _pins(report: PassReport, supply: Supply, shape: Shape) -> tuple[str, ...]:
    """Name the parts of the pod's selectors that no node of a provider satisfies; all parts if only together none."""
    wanted = [Requirement(key, "In", (value,)) for key, value in shape.node_selector]
    if supply.nodes:
        labels = report.node_labels[supply.provider.name]
        missing = [need for need in wanted if (need.key, need.values[0]) not in labels]
    else:
        missing = [need for need in wanted if any(own.excludes(need) for own in supply.provider.selector.requirements)]
    if missing:
        return (_selector(missing),)
    return (*([_selector(wanted)] if wanted else []), *([_AFFINITY] if shape.affinity is not None else []))


def _selector(needs: Iterable[Requirement]) -> str:
    texts = [cut(f"{need.key}={need.values[0]}", MAX_PIN) for need in needs]
    return f"nodeSelector {listed(texts, NAMED_PINS)}"


def _terms(shape: Shape) -> str:
    """Write the requirements of a node affinity with a single term: `zone In (a, b)`; empty for other affinities."""
    if shape.affinity is None or len(shape.affinity) != 1:
        return ""
    needs = (*shape.affinity[0].expressions, *shape.affinity[0].fields)
    texts = [f"{need.key} {need.operator} ({', '.join(need.values)})".removesuffix(" ()") for need in needs]
    return listed([cut(text, MAX_PIN) for text in texts], NAMED_PINS)


def _named_taints(supply: Supply, shape: Shape) -> str:
    return listed(_taints(supply, shape), NAMED_PINS) or "of its nodes"


def _taints(supply: Supply, shape: Shape) -> tuple[str, ...]:
    """Return the taints that keep the pod off the nodes that its selectors admit."""
    tolerations = (*shape.tolerations, *supply.provider.tolerations)
    admitting: set[tuple[Taint, ...]] = set()
    for node in (info.node for info in supply.nodes):
        if node.taints not in admitting and shape.admits(node.name, node.labels):
            admitting.add(node.taints)
    blocking = {
        str(taint)
        for taints in admitting
        for taint in taints
        if taint.key != UNAVAILABLE_KEY and not taint.transient and not tolerated((taint,), tolerations)
    }
    return tuple(sorted(blocking))


def _annotation(names: Sequence[str]) -> str:
    """Say how the pod's annotation would let it go to these providers."""
    if not names:
        return ""
    added = "this name" if len(names) == 1 else "these names"
    return (
        f"To let the pod go to {listed(names, NAMED_PROVIDERS)}, add {added} to its annotation {PROVIDERS_ANNOTATION}, "
        "or remove the annotation."
    )


def _tolerations(report: PassReport, hold: Hold) -> Iterable[str]:
    """Say which tolerations would let the pod go to the providers whose taints keep it off."""
    found: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    for name, why in hold.rejected:
        supply = report.assessment.supply(name) if why is Reason.TAINTED else None
        if supply is not None and (taints := _taints(supply, hold.pod.shape)):
            found.setdefault((taints, supply.provider.primary), []).append(name)
    for (taints, primary), names in found.items():
        of = f"a toleration of {taints[0]}" if len(taints) == 1 else f"tolerations of {listed(taints, NAMED_PINS)}"
        # No pod is sent to the primary, so the pool has no tolerations for it.
        where = "the pod" if primary else "the pod, or to the provider's tolerations in the pool"
        yield f"To let the pod go to {listed(names, NAMED_PROVIDERS)}, add {of} to {where}."


def _kueue(hold: Hold) -> str:
    pod = hold.pod
    if not pod.shape.node_selector or not any(key.startswith(KUEUE_PREFIX) for key in pod.labels):
        return ""
    return (
        "Kueue manages the pod, so these labels are probably those of the flavor that Kueue has chosen. With one "
        "flavor that covers the nodes of all providers, ComputePool chooses the provider."
    )


def _volumes(hold: Hold) -> str:
    """Name the constraints that may be the cause where a provider had a place and the scheduler did not use it."""
    unused = any(why is Reason.NOT_BOUND_IN_TIME for _, why in hold.rejected)
    if not unused or not hold.pod.shape.unmodelled:
        return ""
    volumes = " A volume may pin it to another provider." if "volumes" in hold.pod.shape.unmodelled else ""
    return f"Not looked at: the pod's {', '.join(hold.pod.shape.unmodelled)}.{volumes}"


def _limit(report: PassReport, pod: Pod, names: Sequence[str]) -> str:
    """Say which limits keep the pod away, where nothing else is known to."""
    found = ", ".join(name for name in names if _has_room(report, pod, name))
    return f"A higher capacity.maxAccelerators of {found} would let the pod go there." if found else ""


def _has_room(report: PassReport, pod: Pod, name: str) -> bool:
    """Say whether a node of the provider has room for the pod, and the budget has money for it."""
    supply, resource = report.assessment.supply(name), report.snapshot.pool.spec.accelerator.resource_name
    if supply is None or supply.free < request_of(pod, resource):
        return False
    rest = _rest(report)
    if rest is not None and cost_of(supply.provider, pod, resource) > rest:
        return False
    tolerations = pod.shape.tolerations + supply.provider.tolerations
    return any(has_place(info, pod.shape) and tolerated(info.node.taints, tolerations) for info in supply.usable)


def _size(report: PassReport, pod: Pod, names: Sequence[str]) -> str:
    """Say what a pod requests that is too large for every node of these providers."""
    if not names:
        return ""
    request = request_of(pod, report.snapshot.pool.spec.accelerator.resource_name)
    asks = f"The pod requests {counted(whole(request), 'accelerator')}"
    return f"{asks}: request less of what is scarce, or add larger nodes."


def _trial(names: Sequence[str]) -> str:
    return f"More pods go to {listed(names, NAMED_PROVIDERS)} once the first pod there is healthy." if names else ""


def _room(names: list[str]) -> str:
    return f"The pod runs once other pods end, or nodes join, on {listed(names, NAMED_PROVIDERS)}." if names else ""


def _money(report: PassReport, pod: Pod, names: Sequence[str]) -> str:
    """Say which budget keeps the pod off these providers, with the amounts, and how long pods wait."""
    budget, spend = report.snapshot.pool.spec.budget, report.state.recorded.spend
    supplies = [supply for name in names if (supply := report.assessment.supply(name)) is not None]
    if budget is None or spend is None or not supplies:
        return ""
    resource = report.snapshot.pool.spec.accelerator.resource_name
    cost = min(cost_of(supply.provider, pod, resource) for supply in supplies)
    for bound, span, field in ((budget.hourly(), "hour", "perHour"), (budget.daily(), "day", "perDay")):
        if bound is not None and cost > bound:
            alone = f"The pod alone costs {cost:.2f} an hour, more than the budget per {span} of {bound}"
            return f"{alone}: raise spec.budget.{field}."
    rate = _rate(report, spend)
    return _day_spent(budget, spend.spent, rate, cost) or (
        f"The budget per hour does not cover the pod, which costs {cost:.2f} an hour: pods on standbys cost {rate:.2f} "
        f"of {budget.per_hour}. Pods wait until other pods there end, or raise spec.budget.perHour."
    )


def _day_spent(budget: Budget, spent: Decimal, rate: Decimal, cost: Decimal) -> str:
    """Say that the budget of the day is used up; empty if the budget of the hour is the smaller bound.

    `rate`, `cost`: of pods on standbys, and of the pod, an hour.
    """
    hour, day = budget.hourly(), budget.daily()
    if day is None or (hour is not None and hour < day - spent):
        return ""
    # The rest of the day's budget must cover an hour of the pod, and of the pods that run on standbys.
    beside = "" if spent >= day else f" are spent, and pods on standbys cost {rate:.2f} an hour"
    verb = "is spent" if spent >= day else "does not cover the pod"
    fresh = day if hour is None else min(hour, day)
    until = "midnight UTC" if rate + cost <= fresh else "other pods there end"
    return (
        f"The budget per day {verb}: {spent:.2f} of {budget.per_day}{beside}. Pods wait until {until}, or raise "
        "spec.budget.perDay."
    )


def _rest(report: PassReport) -> Decimal | None:
    """Return the hourly cost that the budget still allows; None without a budget."""
    budget, spend = report.snapshot.pool.spec.budget, report.state.recorded.spend
    return None if budget is None or spend is None else hourly_bound(budget, spend.spent) - _rate(report, spend)


def _rate(report: PassReport, spend: Spend) -> Decimal:
    return report.state.memory.rate or spend.rate
