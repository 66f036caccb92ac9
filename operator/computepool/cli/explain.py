"""`computepool explain POD`: the operator's own decision, from one read of the cluster."""

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec
from rich.console import Console

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.supply import Supply, why_not_closed
from computepool.assess.demand.overflow import Hold
from computepool.cli.cluster_view import MissingRightsError, NotFoundError, View, missing_rights, read_view
from computepool.cli.earlier_moves import as_the_leader_knows
from computepool.cli.errors import NEEDS_CLUSTER
from computepool.cli.explanation import Explanation, print_explanation
from computepool.cli.options import Output
from computepool.cli.pod_details import PodDetails, read_pod
from computepool.cli.pod_notes import notes_on
from computepool.cli.recorded_state import signals_in, state_in
from computepool.cli.refused_writes import RefusedEviction, RefusedPatch
from computepool.cli.unclaimed import why_unclaimed
from computepool.cli.verdicts import rows, verdicts_on
from computepool.decide.move.eviction_retries import retry_delay
from computepool.decide.plan import BlockedMove, Burst, Move
from computepool.decide.reconcile import Reconciled, reconcile
from computepool.decide.shortage import is_rejected_everywhere
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.model.api import ComputePool, FailbackPolicy, Mode
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.observe.decode import Records
from computepool.report.findings import findings_about, sentence_of
from computepool.report.formatting import NAMED_PODS, full_stop, listed, span
from computepool.report.pass_report import PassReport
from computepool.report.sentences import destination
from computepool.report.unknown_providers import unknown_providers
from computepool.report.waiting import helps, main_reason, pins

_EVENTS_FORBIDDEN: Final = (
    "Its events may not be listed, so this can't show whether a disruption budget refuses the eviction."
)
_STAYS_AWAY: Final = "It stays there until it ends: failback.policy is Never, and nothing asks it to leave."
_Decision = TypeVar("_Decision", Burst, Hold, Move, BlockedMove)


class Request(msgspec.Struct, frozen=True):
    """What the user asks for."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    namespace: str
    name: str
    output: Output


async def run(request: Request, console: Console) -> None:
    """Explain one pod on the console. What can be said without a missing right is printed first.

    Raises AccessError, ApiError, NotFoundError and MissingRightsError.
    """
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        read = await read_pod(client, request.namespace, request.name)
        view = await read_view(client, request.operator_namespace, (request.namespace, request.name))
    if read is None:
        raise NotFoundError(_no_such_pod(view, request.namespace, request.name))
    details, raw = read
    pod = _record(raw, view)
    explanation = _explanation(view, pod, details)
    print_explanation(pod, explanation, request.output, console)
    if view.missing and explanation.needs_all:
        raise MissingRightsError(_missing(view, pod, request.operator_namespace))


def _record(raw: bytes, view: View) -> Pod:
    """Return the pod's record, and put it into a view that lacks it. Raises NotFoundError if it can't be read."""
    try:
        pod = Records().pod(raw)
    except (msgspec.ValidationError, ValueError) as error:
        raise NotFoundError(f"this version can't read the pod, so the operator leaves it out: {error}") from None
    if view.store.pod(pod.uid) is None:
        view.store.put_pod(pod, 0.0)
    return view.store.pod(pod.uid) or pod


def _explanation(view: View, pod: Pod, details: PodDetails) -> Explanation:
    if pod.finished:
        why = ": ".join(filter(None, (details.status.reason, details.status.message)))
        phase = f"{details.status.phase} ({why})" if why else details.status.phase
        ended = "It has ended, so nothing is decided about it."
        return Explanation(ended, notes=(f"Its phase is {phase}.",), needs_all=False)
    if not view.store.claims_of(pod.uid) and "computepools" not in view.missing:
        labels = view.namespaces.get(pod.namespace)
        notes = why_unclaimed(view, pod, labels)
        return Explanation("No ComputePool looks after this pod.", notes=notes, needs_all=labels is None)
    if not view.missing.keys() <= {"namespaces"}:
        return _incomplete(view, pod, details)
    return explain(view, pod, details)


def _incomplete(view: View, pod: Pod, details: PodDetails) -> Explanation:
    """Say what is known of a pod without a view of all nodes and pods: free places are not known then."""
    claims = view.store.claims_of(pod.uid)
    headline = f"Runs on node {pod.node}." if pod.node else f"Has waited for {span(view.now - pod.since)}."
    notes = ["There is no verdict, because not all of the cluster may be read."]
    if claims:
        notes = [*notes, *notes_on(view, pod, details, claims), f"See `computepool status {claims[0]}`."]
    return Explanation(headline, notes=tuple(notes), pool=claims[0] if claims else "")


def explain(view: View, pod: Pod, details: PodDetails) -> Explanation:
    """Explain one pod that has not ended, and that a pool looks after."""
    claims = view.store.claims_of(pod.uid)
    view.store.put_signals(claims[0], signals_in(view.store.pools[claims[0]]))
    snapshot = view.store.snapshot(claims[0])
    outcome = reconcile(snapshot, state_in(snapshot), view.now, pod.uid)
    plan, observed = outcome.plan, snapshot.pool.spec.mode is Mode.OBSERVE
    notes = notes_on(view, pod, details, claims)
    if unknown := unknown_providers(pod, snapshot.pool):
        notes.append(f"{unknown}: {Reason.UNKNOWN_PROVIDER.help}")
    notes += _misconfigured(pod, snapshot.pool, outcome.assessment)
    if view.missing:
        notes.append("Pods of other namespaces that wait too are not counted: their namespaces may not be read.")
    if observed:
        notes.append(Reason.OBSERVING.help)
    forecast = snapshot.pool.status.forecast
    if forecast is not None and forecast.opens_admission:
        notes.append(f"Admission is open ahead of time: {forecast.message}")
    if plan.frozen:
        notes.append(f"Nothing is decided: {plan.frozen}.")
    if plan.held_back:
        notes.append(f"No running pod is moved: {plan.held_back}.")
    if pod.node:
        found = _running(pod, outcome, view, observed=observed)
    else:
        report = PassReport(snapshot, outcome.assessment, plan, outcome.state)
        found = _waiting(pod, outcome, report, view.now, observed=observed)
        notes += _refused_patches(pod, found, view)
    return Explanation(found.headline, found.reason, found.rows, (*notes, *found.notes), claims[0])


def _misconfigured(pod: Pod, pool: ComputePool, assessment: Assessment) -> list[str]:
    """Say what is wrong with the configuration of the providers that the pod may use."""
    may_use = [pool.spec.primary.name, *(standby.name for standby in pool.spec.standbys if pod.allows(standby.name))]
    found = findings_about(assessment.configuration.findings, may_use)
    return [f"{finding.reason}: {sentence_of(finding)}" for finding in found]


def _refused_patches(pod: Pod, found: Explanation, view: View) -> list[str]:
    """Say what the API server answered to the patches that the table calls refused, or to those of other pods.

    Where thousands of pods are refused, not each of them has an event.
    """
    refused = {provider for provider, reason, _ in found.rows if reason is Reason.WRITE_REFUSED}
    patches = view.refused.patches.get(pod.uid, ()) if view.refused is not None else ()
    notes = [_refused_patch(patch, view.now) for patch in patches if patch.offer.provider in refused]
    degraded = view.store.pools[view.store.claims_of(pod.uid)[0]].status.condition("Degraded")
    is_sent = any(reason is Reason.CHOSEN for _, reason, _ in found.rows)
    if not notes and is_sent and degraded is not None and degraded.reason == Reason.WRITE_REFUSED:
        notes.append(f"Writes of the operator fail, maybe those of other pods: {full_stop(degraded.message)}")
    return notes


def _refused_patch(patch: RefusedPatch, now: float) -> str:
    age = span(max(0.0, now - patch.offer.at))
    return f"{patch.note} This event is {age} old. The operator tries again within a minute."


def _no_such_pod(view: View, namespace: str, name: str) -> str:
    """Say that there is no such pod, and name what may have been meant."""
    said = f"there is no pod {name!r} in namespace {namespace!r}: check the name, and --namespace"
    if name in view.store.pools:
        return f"{said}. {name} is a ComputePool: see `computepool status {name}`"
    elsewhere = sorted(pod.namespace for pod in view.store.pods() if pod.name == name)
    if elsewhere:
        return f"{said}. A pod of that name is in {listed(elsewhere, NAMED_PODS)}"
    alike = sorted(
        pod.name for pod in view.store.pods() if pod.namespace == namespace and pod.name.startswith(f"{name}-")
    )
    return f"{said}. Pods that begin so: {listed(alike, NAMED_PODS)}" if alike else said


def _missing(view: View, pod: Pod, operator_namespace: str) -> str:
    inside = f"kubectl --namespace {operator_namespace} exec deploy/computepool -- computepool explain"
    return (
        f"{missing_rights(view)} This command needs the right to {NEEDS_CLUSTER}. The operator's own pod may read all "
        f"of it: {inside} {pod.namespace}/{pod.name}"
    )


def _running(pod: Pod, outcome: Reconciled, view: View, *, observed: bool) -> Explanation:
    name = view.store.claims_of(pod.uid)[0]
    assessment, plan, spec = outcome.assessment, outcome.plan, view.store.pools[name].spec
    supply = next((s for s in assessment.supplies if any(info.node.name == pod.node for info in s.nodes)), None)
    if supply is None:
        return Explanation(f"Runs on node {pod.node}.", Reason.RUNS_ELSEWHERE)
    runs, notes = f"Runs on {supply.provider.name}, node {pod.node}", _faults(pod, supply, assessment)
    if (move := _about(pod, plan.moves)) is not None:
        return _moving(runs, move, view, notes, observed=observed)
    if (blocked := _about(pod, plan.blocked)) is not None:
        blocked = as_the_leader_knows(blocked, outcome.state.recorded.unsettled)
        healthy = not supply.provider.primary and supply.breaker.closed and pod.node not in supply.unhealthy
        wish = "may come home" if healthy else "should leave it"
        headline = f"{runs}, {wish}, and stays{_at_least(blocked.until, view.now)}"
        if (refusal := _active_refusal(pod, view)) is not None:
            headline += f", and its eviction has been refused for {span(max(0.0, view.now - refusal.since))}"
            notes = (*notes, *filter(None, [refusal.note]))
        if blocked.reason is Reason.LEFT_BY_POLICY and supply.provider.drain:
            target = f"{name}/{supply.provider.name}"
            notes = (*notes, f"To let it leave: `computepool drain {target} --move`.")
        table = rows(pod, blocked.rejected, assessment, spec)
        return Explanation(f"{headline}.", main_reason(blocked), table, notes)
    reason = Reason.RUNS_ON_PRIMARY if supply.provider.primary else Reason.RUNS_ON_STANDBY
    if not supply.provider.primary and spec.failback.policy is FailbackPolicy.NEVER:
        notes = (*notes, _STAYS_AWAY)
    return Explanation(f"{runs}.", reason, notes=notes)


def _moving(runs: str, move: Move, view: View, notes: tuple[str, ...], *, observed: bool) -> Explanation:
    place = destination(move)
    if observed:
        return Explanation(f"{runs}; would be moved to {place}.", move.reason, notes=notes)
    if view.refused is None:
        notes = (*notes, _EVENTS_FORBIDDEN)
    if (refusal := _active_refusal(move.pod, view)) is not None:
        seconds = max(0.0, view.now - refusal.since)
        headline = (
            f"{runs}; to be moved to {place}, and its eviction has been refused for {span(seconds)}: "
            f"it is tried again within {span(retry_delay(seconds))}."
        )
        return Explanation(headline, Reason.EVICTION_REFUSED, notes=(*notes, *filter(None, [refusal.note])))
    return Explanation(f"{runs}; about to be moved to {place}.", move.reason, notes=notes)


def _active_refusal(pod: Pod, view: View) -> RefusedEviction | None:
    """Return how the pod's eviction is refused; None if it is not, as far as events tell."""
    refusal = view.refused.evictions.get(pod.uid) if view.refused is not None else None
    return refusal if refusal is not None and refusal.is_active(view.now) else None


def _waiting(pod: Pod, outcome: Reconciled, report: PassReport, now: float, *, observed: bool) -> Explanation:
    decision = _about(pod, outcome.plan.bursts) or _about(pod, outcome.plan.holds)
    waits = f"Has waited for {span(now - pod.since)}"
    if decision is None:
        return Explanation(f"{waits}.")
    table = rows(pod, verdicts_on(decision, outcome.survey), outcome.assessment, report.snapshot.pool.spec)
    if isinstance(decision, Burst):
        headline = f"{'Would be' if observed else 'About to be'} sent to {decision.provider}."
        notes = (f"Signals that are on: {', '.join(decision.signals)}.",) if decision.signals else ()
        return Explanation(headline, decision.reason, table, notes)
    provider = f", now for {decision.provider}" if decision.provider else ""
    headline = f"{waits}{provider}{_at_most(decision.until, now)}."
    return Explanation(headline, main_reason(decision), table, _what_helps(report, decision))


def _about(pod: Pod, decisions: Iterable[_Decision]) -> _Decision | None:
    return next((decision for decision in decisions if decision.pod.uid == pod.uid), None)


def _at_least(until: float | None, now: float) -> str:
    return f", at least {span(until - now)} more" if until and until > now else ""


def _at_most(until: float | None, now: float) -> str:
    return f", at most {span(until - now)} more" if until and until > now else ""


def _faults(pod: Pod, supply: Supply, assessment: Assessment) -> tuple[str, ...]:
    """Say what is wrong with the pod's node and provider."""
    notes = []
    if pod.node in supply.unhealthy:
        fault = assessment.health.providers[supply.provider.name].unhealthy[pod.node]
        detail = f" ({fault.detail})" if fault.detail else ""
        notes.append(f"Node {pod.node} counts as unhealthy: {fault.reason}{detail}. {fault.reason.help}")
    if not supply.breaker.closed:
        reason = why_not_closed(supply.breaker, supply.provider)
        why = f": {reason.help}" if reason is not None else "."
        notes.append(f"The breaker of {supply.provider.name} is {supply.breaker.state}{why}")
    return tuple(notes)


def _what_helps(report: PassReport, hold: Hold) -> tuple[str, ...]:
    """Say what excludes the pod from providers, and what would help: the words of the pod's events."""
    told = pins(report, hold)
    if is_rejected_everywhere(hold):
        told += tuple(text for text in helps(report, hold) if text not in told)
    return told
