"""The problems of a pool: everything that a person can do something about.

Degraded reports the worst problem in full and all others in short, so that none of them hides another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from computepool.assess.capacity.supply import why_not_closed
from computepool.assess.configuration.finding import Severity
from computepool.decide.move.failback_window import window_problem
from computepool.decide.move.failover import troubled_infos
from computepool.decide.move.owned_pods import namespace_key
from computepool.decide.plan import BlockedMove
from computepool.model.api import BreakerState, ComputePool
from computepool.model.api.base import MAX_MESSAGE
from computepool.model.cluster import DEFAULT_SCHEDULER, Pod
from computepool.model.reasons import Reason
from computepool.model.state import HOLD_OFF_REASONS, Breaker, NodeFault, Shortage
from computepool.model.text import cut, rfc3339
from computepool.model.well_known_keys import PROVIDERS_ANNOTATION
from computepool.report.findings import configuration_problems
from computepool.report.formatting import counted, full_stop, listed, moment, pod_names
from computepool.report.pass_report import AdmissionGap, PassReport
from computepool.report.problem import Problem

STUCK: Final = (Reason.EVICTION_REFUSED, Reason.LOST_NODE, Reason.WOULD_STRAND)
"""Reasons of pods that should leave their node and stay until a person does something about it; worst first."""
NAMED_NODES: Final = 5
"""How many nodes a text names; `computepool cleanup --dry-run` lists all that are in quarantine."""
NAMED_SCHEDULERS: Final = 3
MAX_SHORT: Final = 160
"""Characters about each problem but the worst."""
_BREAKER_WORDS: Final = {BreakerState.OPEN: "open", BreakerState.HALF_OPEN: "half-open"}


def problems_of(report: PassReport) -> list[Problem]:
    """Return all problems, worst first."""
    return [problem for find in _PROBLEMS for problem in find(report)]


def message_about(problems: Sequence[Problem]) -> str:
    """Return the message about these problems, at least one: the first in full, all others in short."""
    first, *others = problems
    if not others:
        return full_stop(first.message)
    also = " Also " + full_stop("; ".join(f"{problem.reason}: {cut(problem.short, MAX_SHORT)}" for problem in others))
    # A long first message must not hide that there are other problems.
    return cut(full_stop(first.message), max(MAX_MESSAGE - len(also), MAX_MESSAGE // 3)) + also


def notices_of(report: PassReport) -> list[Problem]:
    """Return what a person should know, although it does not degrade the pool."""
    finders = (_unhealthy_nodes, _failed_moves, _unknown_providers, _confined_pods, _drained, _drain_ended)
    notices = [notice for find in finders if (notice := find(report)) is not None]
    return [*notices, *configuration_problems(report, Severity.NOTICE)]


def configured_wrongly(report: PassReport) -> list[Problem]:
    """Return everything in which the manifest, or an annotation of a pod, does not fit the cluster, worst first."""
    unknown = _unknown_providers(report)
    return [
        *_conflict(report),
        *configuration_problems(report, Severity.FAULT),
        *_no_window(report),
        *configuration_problems(report, Severity.NOTICE),
        *([unknown] if unknown is not None else []),
    ]


def _drained(report: PassReport) -> Problem | None:
    """Name the drained providers: a drain is planned work, and degrades the pool only if pods have no other place."""
    return _out_of_use(report, Reason.DRAINED)


def _drain_ended(report: PassReport) -> Problem | None:
    """Name the providers that were drained and are not in full use yet."""
    return _out_of_use(report, Reason.DRAIN_ENDED)


def _out_of_use(report: PassReport, reason: Reason) -> Problem | None:
    providers = {supply.provider.name: supply.provider for supply in report.assessment.supplies}
    not_closed = _not_closed(report, drained=True).items()
    breakers = {name: breaker for name, breaker in not_closed if why_not_closed(breaker, providers[name]) is reason}
    if not breakers:
        return None
    states = _states(breakers)
    return Problem(reason, f"{_not_in_use(report)}: {states}. {reason.help}", states)


def _failed_moves(report: PassReport) -> Problem | None:
    """Name pods that stay because the last move of their owner, or in their namespace, came to nothing."""
    unsettled = report.state.recorded.unsettled
    pods = [
        blocked.pod
        for blocked in report.plan.blocked
        if blocked.reason in (Reason.MOVE_FAILED, Reason.AWAITS_REPLACEMENT)
        if any(
            (move := unsettled.get(key)) is not None and move.times
            for key in (blocked.pod.owner, namespace_key(blocked.pod))
        )
    ]
    if not pods:
        return None
    names = f"{counted(len(pods), 'pod')}, such as {pod_names(pods)}"
    return Problem(Reason.MOVE_FAILED, f"{Reason.MOVE_FAILED.help} That is so for {names}.", names)


def _unknown_providers(report: PassReport) -> Problem | None:
    """Name waiting pods whose annotation has names that are no provider: a user's mistake does not degrade the pool."""
    if not (found := report.unknown_providers):
        return None
    pool = report.snapshot.pool
    pods = pod_names(pod for pod, _ in found)
    first = min(found, key=lambda entry: (entry[0].namespace, entry[0].name))[1]
    names = f"{counted(len(found), 'pod')}, such as {pods} ({first})"
    pod = min((pod for pod, _ in found), key=lambda pod: (pod.namespace, pod.name))
    command = f"kubectl annotate pod {pod.name} --namespace {pod.namespace} --overwrite"
    change = f"{PROVIDERS_ANNOTATION}={_corrected(pod, pool)}"
    mend = f"Correct the pods' template; for the first pod alone: `{command} {change}`."
    return Problem(Reason.UNKNOWN_PROVIDER, f"{Reason.UNKNOWN_PROVIDER.help} That is so for {names}. {mend}", names)


def _corrected(pod: Pod, pool: ComputePool) -> str:
    """Return the pod's list of providers with the names that the pool has; PROVIDER where none is left."""
    known = {provider.name.casefold(): provider.name for provider in pool.spec.providers}
    found = dict.fromkeys(known[name.casefold()] for name in pod.allowed or () if name.casefold() in known)
    return ",".join(found) or "PROVIDER"


def _unhealthy_nodes(report: PassReport) -> Problem | None:
    """Name the unhealthy nodes of providers that are in use.

    They do not degrade the pool: their pods are moved, and one node in a hundred is no reason to wake a person.
    """
    used = {supply.provider.name for supply in report.assessment.supplies if supply.breaker.closed}
    texts = [
        describe_fault(f"{name} of {provider}", fault)
        for provider, nodes in unhealthy_nodes(report).items()
        if provider in used
        for name, fault in sorted(nodes.items())
    ]
    if not texts:
        return None
    subject, gets = ("1 node is", "gets") if len(texts) == 1 else (f"{len(texts)} nodes are", "get")
    gets = "would get" if report.observed else gets
    nodes = listed(texts, NAMED_NODES)
    return Problem(
        Reason.NODES_UNHEALTHY,
        f"{subject} unhealthy and {gets} no new pods: {nodes}.",
        f"{subject} unhealthy: {nodes}",
    )


def unhealthy_nodes(report: PassReport) -> Mapping[str, Mapping[str, NodeFault]]:
    """Return the faults of unhealthy nodes by provider and node."""
    return {name: health.unhealthy for name, health in report.assessment.health.providers.items()}


def describe_fault(name: str, fault: NodeFault) -> str:
    """Write a node with its fault: `n4 (NodeCondition: XidErrors)`."""
    return f"{name} ({fault.reason}: {fault.detail})" if fault.detail else f"{name} ({fault.reason})"


def stuck_pods(report: PassReport, reason: Reason) -> list[BlockedMove]:
    """Return the pods that should leave their node and can't, for one of the reasons `STUCK`."""
    troubled = {info.node.name for info in troubled_infos(report.assessment)}
    # A pod that only finds no room to come home is fine where it is.
    return [
        blocked
        for blocked in report.plan.blocked
        if blocked.reason is reason and (reason is not Reason.WOULD_STRAND or blocked.pod.node in troubled)
    ]


# --- one function for each kind of problem


def _held_back(report: PassReport) -> Iterable[Problem]:
    if why := report.plan.held_back:
        yield Problem(Reason.TOO_MANY_FAILED, why, "no running pod is moved")


def _access_missing(report: PassReport) -> Iterable[Problem]:
    if (text := report.snapshot.stale) and report.gaps.denied:
        yield Problem(Reason.ACCESS_MISSING, text, text)


def _write_refused(report: PassReport) -> Iterable[Problem]:
    patches = (refused.message for refused in report.state.memory.refused.values())
    if answers := "; ".join(filter(None, (*patches, report.refused))):
        yield Problem(Reason.WRITE_REFUSED, answers, answers)


def _unreadable(report: PassReport) -> Iterable[Problem]:
    if text := report.gaps.unreadable:
        advice = "Correct it, or use a newer operator. An object that can't be read is left out of all counts."
        yield Problem(Reason.OBJECTS_UNREADABLE, f"{text}. {advice}", text)


def _failed(report: PassReport) -> Iterable[Problem]:
    if breakers := _not_closed(report, drained=False):
        name, breaker = next(iter(breakers.items()))
        reason, states = breaker.reason or Reason.PROVIDER_UNAVAILABLE, _states(breakers)
        health = report.assessment.health.providers.get(name)
        detail = f" {health.detail}." if health is not None and health.detail else ""
        why = f"{name}: {reason.help}{detail}{_next_step(breaker, observed=report.observed)}"
        yield Problem(reason, f"{_not_in_use(report)}: {states}. {why}", states)


def _stuck(report: PassReport) -> Iterable[Problem]:
    for reason in STUCK:
        if blocked := stuck_pods(report, reason):
            least = "at least " if report.plan.blocked_left_out else ""
            pods = f"{least}{counted(len(blocked), 'pod')}, such as {pod_names(move.pod for move in blocked)}"
            unpaid = any(why is Reason.BUDGET_EXHAUSTED for move in blocked for _, why in move.rejected)
            money = f" {Reason.BUDGET_EXHAUSTED.help}" if unpaid and reason is Reason.WOULD_STRAND else ""
            yield Problem(reason, f"{reason.help} That is so for {pods}.{money}", pods)


def _missed(report: PassReport) -> Iterable[Problem]:
    """Find pods that wait because a provider is drained, and that no other provider takes."""
    missed = report.state.memory.missed_drain
    # The next pass stops a drill for this.
    if missed and not any(map(report.assessment.drills.is_under_way, missed.providers)):
        names, pods, pool = ", ".join(missed.providers), ", ".join(missed.pods), report.snapshot.pool.name
        message = (
            f"{names}: {Reason.DRAINED.help} Pods wait, or should leave an unhealthy node, that would fit there and "
            f"that no other provider takes, such as {pods}. End the drain with `computepool drain "
            f"{pool}/{missed.providers[0]} --undo`, or add capacity elsewhere."
        )
        yield Problem(Reason.DRAINED, message, f"pods wait because {names} is drained")


def _conflict(report: PassReport) -> Iterable[Problem]:
    if report.snapshot.conflicts:
        # The number of pods is left out: it changes with every pod, and the status would change with it.
        older = repr(report.snapshot.conflicting_pool)
        message = (
            f"pods that it selects belong to the older pool {older}, which selects them too: narrow spec.workloads of "
            "one of the two. Until then this pool admits no pod at creation."
        )
        yield Problem(Reason.CLAIMED_BY_OLDER_POOL, message, f"pods belong to {older}")


def _misconfigured(report: PassReport) -> Iterable[Problem]:
    return configuration_problems(report, Severity.FAULT)


def _uncounted(report: PassReport) -> Iterable[Problem]:
    supplies = report.assessment.supplies
    texts = [f"{name} of {supply.provider.name}" for supply in supplies for name in sorted(supply.uncounted)]
    if texts:
        nodes = listed(texts, NAMED_NODES)
        yield Problem(Reason.DEVICES_UNKNOWN, f"{Reason.DEVICES_UNKNOWN.help} That is so for {nodes}.", nodes)


def _held_off(report: PassReport) -> Iterable[Problem]:
    blocking = report.assessment.breakers.hold_offs.blocking.values()
    for reason in HOLD_OFF_REASONS:
        if names := ", ".join(sorted({held.provider for held in blocking if held.reason is reason})):
            yield Problem(reason, f"{names}: {reason.help}", names)


def _absent_scheduler(report: PassReport) -> Iterable[Problem]:
    holds = (hold for hold in report.plan.holds if hold.reason is Reason.SCHEDULER_ABSENT)
    if names := listed(sorted({repr(hold.pod.shape.scheduler) for hold in holds}), NAMED_SCHEDULERS):
        nothing = "which has neither bound a pod nor found a pod unschedulable"
        message = f"pods wait for scheduler {names}, {nothing}. {Reason.SCHEDULER_ABSENT.help}"
        yield Problem(Reason.SCHEDULER_ABSENT, message, names)


def _silent_scheduler(report: PassReport) -> Iterable[Problem]:
    """Pods that had a place for long, and that their scheduler has not looked at: it may be down."""
    late = (
        hold.pod.shape.scheduler or DEFAULT_SCHEDULER
        for hold in report.plan.holds
        if not hold.pod.unschedulable and Reason.NOT_BOUND_IN_TIME in (hold.reason, *(why for _, why in hold.rejected))
    )
    if names := listed(sorted(map(repr, set(late))), NAMED_SCHEDULERS):
        message = f"pods wait for scheduler {names}. {Reason.SCHEDULER_SILENT.help}"
        yield Problem(Reason.SCHEDULER_SILENT, message, names)


def _pods_waiting(report: PassReport) -> Iterable[Problem]:
    shortage = report.state.memory.shortage
    if shortage is not None and not shortage.confined:
        yield _waiting(shortage)


def _confined_pods(report: PassReport) -> Problem | None:
    """Name pods that their own constraints confine to a full primary: their owner's choice degrades no pool."""
    shortage = report.state.memory.shortage
    if shortage is None or not shortage.confined or report.unknown_providers:
        # Unknown providers in annotations are told of in more detail.
        return None
    return _waiting(shortage)


def _waiting(shortage: Shortage) -> Problem:
    # Without numbers, which would change with every pod.
    why, pods = ", ".join(shortage.reasons), ", ".join(shortage.pods)
    return Problem(
        Reason.PODS_WAITING, f"{Reason.PODS_WAITING.help} Now: {why}, for pods such as {pods}.", f"{why}: {pods}"
    )


def _no_window(report: PassReport) -> Iterable[Problem]:
    if problem := window_problem(report.snapshot.pool.spec.failback.window):
        yield Problem(Reason.WINDOW_NEVER_OPENS, f"{problem}.", problem)


def _unfollowed(report: PassReport) -> Iterable[Problem]:
    if text := report.gaps.unfollowed:
        yield Problem(Reason.EVIDENCE_MISSING, f"{text}. Everything else goes on.", text)


def _missing_policy(report: PassReport) -> Iterable[Problem]:
    if report.gaps.admission is AdmissionGap.DEMANDED:
        yield Problem(Reason.POLICY_MISSING, Reason.POLICY_MISSING.help, "pods are burst by patching alone")


_PROBLEMS: Final[tuple[Callable[[PassReport], Iterable[Problem]], ...]] = (
    _access_missing,
    _held_back,
    _write_refused,
    _unreadable,
    _failed,
    _stuck,
    _missed,
    _conflict,
    _uncounted,
    _misconfigured,
    _held_off,
    _absent_scheduler,
    _silent_scheduler,
    _pods_waiting,
    _no_window,
    _unfollowed,
    _missing_policy,
)
"""Worst first."""


def _not_closed(report: PassReport, *, drained: bool) -> Mapping[str, Breaker]:
    """Return the breakers that are not closed, by provider: of drained providers, or of all others."""
    breakers = {s.provider.name: report.state.breaker(s.provider.name) for s in report.assessment.supplies}
    return {
        name: breaker
        for name, breaker in breakers.items()
        if not breaker.closed and (breaker.reason is Reason.DRAINED) is drained
    }


def _states(breakers: Mapping[str, Breaker]) -> str:
    return ", ".join(f"{name} ({_BREAKER_WORDS[breaker.state]})" for name, breaker in breakers.items())


def _not_in_use(report: PassReport) -> str:
    return "provider(s) that would not be in full use" if report.observed else "provider(s) not in full use"


def _next_step(breaker: Breaker, *, observed: bool) -> str:
    verb = "would be" if observed else "is"
    if breaker.state is BreakerState.HALF_OPEN:
        return f" That is over: it {verb} tried with a first pod."
    if breaker.retry_at is None:
        return ""
    at = rfc3339(moment(breaker.retry_at))
    # A full provider that makes nodes is used sooner, as the help of its reason says.
    begin = "Otherwise it" if breaker.reason is Reason.PROVISIONING_FAILED else "It"
    return f" {begin} {verb} tried again at {at} at the earliest, once it has been healthy for a while."
