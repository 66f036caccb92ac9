"""`computepool explain POD`: the operator's own decision, from one read of the cluster."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec
from rich.console import Console
from rich.text import Text

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import Hold
from computepool.cli.cluster_view import NotFoundError, View
from computepool.cli.console import make_table
from computepool.cli.refused_evictions import Refusal
from computepool.decide.move.eviction_retries import retry_delay
from computepool.decide.plan import BlockedMove, Burst, Move, Plan
from computepool.decide.reconcile import reconcile
from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool, ConditionStatus, Mode, SignalVerdict
from computepool.model.cluster import Pod
from computepool.model.quantity import whole
from computepool.model.reasons import Reason
from computepool.model.signals import SignalData
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.report.findings import findings_about, sentence_of
from computepool.report.formatting import span
from computepool.report.sentences import destination
from computepool.report.unknown_providers import unknown_providers

KUEUE_PREFIX: Final = "kueue.x-k8s.io/"
"""Prefix of the labels that Kueue puts on pods of the workloads that it manages."""
_EVENTS_FORBIDDEN: Final = (
    "Its events may not be listed, so this can't show whether a disruption budget refuses the eviction."
)
_Decision = TypeVar("_Decision", Burst, Hold, Move, BlockedMove)
Row = tuple[str, str, str]
"""A provider, the verdict about it, and the meaning of the verdict."""


class Explanation(msgspec.Struct, frozen=True):
    """Why a pod runs where it runs, or why it waits."""

    headline: str
    reason: Reason | None = None
    rows: tuple[Row, ...] = ()
    """In the order of preference."""
    notes: tuple[str, ...] = ()
    pool: str = ""


def explain(view: View, pod: Pod) -> Explanation:
    """Explain one pod."""
    claims = view.store.claims_of(pod.uid)
    if not claims:
        return Explanation("No ComputePool looks after this pod.", notes=(_why_unclaimed(view, pod),))
    view.store.put_signals(claims[0], _signals_in(view.store.pools[claims[0]]))
    snapshot = view.store.snapshot(claims[0])
    outcome = reconcile(snapshot, _state_of(snapshot), view.now)
    plan, observed = outcome.plan, snapshot.pool.spec.mode is Mode.OBSERVE
    notes = _notes(pod, claims)
    if unknown := unknown_providers(pod, snapshot.pool):
        notes.append(f"{unknown}: {Reason.UNKNOWN_PROVIDER.help}")
    notes += _misconfigured(pod, snapshot.pool, outcome.assessment)
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
        found = _running(pod, outcome.assessment, plan, view, observed=observed)
    else:
        found = _waiting(pod, plan, view.now, observed=observed)
    if pod.signals and pod.burst:
        notes.append(f"It was sent to {pod.burst} while these signals were on: {', '.join(pod.signals)}.")
    offers = tuple(
        (offer.provider, "Offered", f"The pod was sent to this provider {span(view.now - offer.at)} ago.")
        for offer in pod.offers
    )
    return Explanation(found.headline, found.reason, found.rows or offers, (*notes, *found.notes), claims[0])


def find_pod(view: View, namespace: str, name: str) -> Pod:
    """Return the pod of that name. Raises NotFoundError where there is none."""
    for pod in view.store.pods():
        if pod.namespace == namespace and pod.name == name:
            return pod
    raise NotFoundError(
        f"there is no pod {name!r} in namespace {namespace!r} that has not ended: check the name, and -n NAMESPACE"
    )


def show(pod: Pod, explanation: Explanation, console: Console) -> None:
    """Print an explanation for a person."""
    requests = [f"{whole(amount)} {name}" for name, amount in pod.shape.requests if "/" in name]
    details = [*requests, f"priority {pod.priority}", *([f"pool {explanation.pool}"] if explanation.pool else [])]
    console.print(Text.assemble((f"{pod.namespace}/{pod.name}", "bold"), "  ", "  ".join(details)))
    console.print(explanation.headline)
    if explanation.reason is not None:
        console.print(Text.assemble((str(explanation.reason), "bold"), f": {explanation.reason.help}"))
    if explanation.rows:
        table = make_table("Provider", "Verdict", "Meaning")
        for row in explanation.rows:
            table.add_row(*row, style="green" if row[1] == Reason.CHOSEN else "default")
        console.print()
        console.print(table)
    if explanation.notes:
        console.print()
    for note in explanation.notes:
        console.print(note)


def _signals_in(pool: ComputePool) -> Mapping[str, SignalData]:
    """Return the operator's verdicts on signals, by key. The data is the operator's alone."""
    return {
        signal.key: SignalData(error=signal.message)
        if signal.verdict is SignalVerdict.UNKNOWN
        else SignalData(verdict=signal.on)
        for signal in pool.status.signals
    }


def _state_of(snapshot: Snapshot) -> PoolState:
    """Return the recorded state, and two timers as far as conditions and breakers tell: since when the primary is
    stable, and since when the status of nodes is Unknown.

    A new leader starts these timers anew. Here the leader has not changed.
    """
    pool, state = snapshot.pool, restarted(recorded_in(snapshot.pool))
    unknown = {info.node.name: info.node.ready_since for info in snapshot.nodes if info.node.ready == "Unknown"}
    unknown_since = {name: since for name, since in unknown.items() if since is not None}
    state = PoolState(state.recorded, msgspec.structs.replace(state.memory, unknown_since=unknown_since))
    saturated = pool.status.condition("Saturated")
    if saturated is None or saturated.status is not ConditionStatus.FALSE:
        return state
    since = max(saturated.last_transition_time.timestamp(), state.breaker(pool.spec.primary.name).since)
    return PoolState(state.recorded, msgspec.structs.replace(state.memory, stable_since=since))


def _running(pod: Pod, assessment: Assessment, plan: Plan, view: View, *, observed: bool) -> Explanation:
    supply = next((s for s in assessment.supplies if any(info.node.name == pod.node for info in s.nodes)), None)
    if supply is None:
        return Explanation(f"Runs on node {pod.node}.", Reason.RUNS_ELSEWHERE)
    runs, notes = f"Runs on {supply.provider.name}, node {pod.node}", _faults(pod, supply, assessment)
    if (move := _about(pod, plan.moves)) is not None:
        return _moving(runs, move, view, notes, observed=observed)
    if (blocked := _about(pod, plan.blocked)) is not None:
        healthy = not supply.provider.primary and supply.breaker.closed and pod.node not in supply.unhealthy
        wish = "may come home" if healthy else "should leave it"
        headline = f"{runs}, {wish}, and stays{_at_least(blocked.until, view.now)}"
        if (refusal := _active_refusal(pod, view)) is not None:
            headline += f", and its eviction has been refused for {span(max(0.0, view.now - refusal.since))}"
            notes = (*notes, *filter(None, [refusal.note]))
        return Explanation(f"{headline}.", _main_reason(blocked), _rows(blocked.rejected), notes)
    reason = Reason.RUNS_ON_PRIMARY if supply.provider.primary else Reason.RUNS_ON_STANDBY
    return Explanation(f"{runs}.", reason, notes=notes)


def _moving(runs: str, move: Move, view: View, notes: tuple[str, ...], *, observed: bool) -> Explanation:
    place = destination(move)
    if observed:
        return Explanation(f"{runs}; would be moved to {place}.", move.reason, notes=notes)
    if view.refusals is None:
        notes = (*notes, _EVENTS_FORBIDDEN)
    if (refusal := _active_refusal(move.pod, view)) is not None:
        seconds = max(0.0, view.now - refusal.since)
        headline = (
            f"{runs}; to be moved to {place}, and its eviction has been refused for {span(seconds)}: "
            f"it is tried again within {span(retry_delay(seconds))}."
        )
        return Explanation(headline, Reason.EVICTION_REFUSED, notes=(*notes, *filter(None, [refusal.note])))
    return Explanation(f"{runs}; about to be moved to {place}.", move.reason, notes=notes)


def _active_refusal(pod: Pod, view: View) -> Refusal | None:
    """Return how the pod's eviction is refused; None if it is not, as far as events tell."""
    refusal = (view.refusals or {}).get(pod.uid)
    return refusal if refusal is not None and refusal.is_active(view.now) else None


def _waiting(pod: Pod, plan: Plan, now: float, *, observed: bool) -> Explanation:
    if (burst := _about(pod, plan.bursts)) is not None:
        chosen = (burst.provider, str(Reason.CHOSEN), Reason.CHOSEN.help)
        headline = f"{'Would be' if observed else 'About to be'} sent to {burst.provider}."
        notes = (f"Signals that are on: {', '.join(burst.signals)}.",) if burst.signals else ()
        return Explanation(headline, burst.reason, (*_rows(burst.rejected), chosen), notes)
    waits = f"Has waited for {span(now - pod.since)}"
    if (hold := _about(pod, plan.holds)) is not None:
        provider = f", now for {hold.provider}" if hold.provider else ""
        headline = f"{waits}{provider}{_at_most(hold.until, now)}."
        return Explanation(headline, _main_reason(hold), _rows(hold.rejected), _pins(pod, hold))
    return Explanation(f"{waits}.")


def _about(pod: Pod, decisions: Iterable[_Decision]) -> _Decision | None:
    return next((decision for decision in decisions if decision.pod.uid == pod.uid), None)


def _rows(rejected: Iterable[tuple[str, Reason]]) -> tuple[Row, ...]:
    return tuple((provider, str(reason), reason.help) for provider, reason in rejected)


def _at_least(until: float | None, now: float) -> str:
    return f", at least {span(until - now)} more" if until and until > now else ""


def _at_most(until: float | None, now: float) -> str:
    return f", at most {span(until - now)} more" if until and until > now else ""


def _main_reason(decision: BlockedMove | Hold) -> Reason:
    """Return the reason to print: BudgetExhausted where only the money is missing for a provider."""
    unclear = decision.reason in (Reason.WOULD_STRAND, Reason.NO_PROVIDER_LEFT)
    unpaid = any(reason is Reason.BUDGET_EXHAUSTED for _, reason in decision.rejected)
    return Reason.BUDGET_EXHAUSTED if unclear and unpaid else decision.reason


def _faults(pod: Pod, supply: Supply, assessment: Assessment) -> tuple[str, ...]:
    """Say what is wrong with the pod's node and provider."""
    notes = []
    if pod.node in supply.unhealthy:
        fault = assessment.health.providers[supply.provider.name].unhealthy[pod.node]
        detail = f" ({fault.detail})" if fault.detail else ""
        notes.append(f"Node {pod.node} counts as unhealthy: {fault.reason}{detail}. {fault.reason.help}")
    if not supply.breaker.closed:
        why = f": {supply.breaker.reason.help}" if supply.breaker.reason else "."
        notes.append(f"The breaker of {supply.provider.name} is {supply.breaker.state}{why}")
    return tuple(notes)


def _pins(pod: Pod, hold: Hold) -> tuple[str, ...]:
    """Name the selectors that keep a waiting pod off a provider, and the controller that has set them."""
    if all(reason is not Reason.PINNED for _, reason in hold.rejected):
        return ()
    selector = ", ".join(f"{key}={value}" for key, value in pod.shape.node_selector)
    pins = [f"nodeSelector {selector}"] if selector else []
    pins += ["required node affinity"] if pod.shape.affinity is not None else []
    notes = [f"Pinned by its {' and its '.join(pins)}."] if pins else []
    if pod.shape.node_selector and any(key.startswith(KUEUE_PREFIX) for key in pod.labels):
        notes.append(
            "Kueue admitted the pod to a flavor, whose nodeLabels are in the pod's nodeSelector. With one flavor that "
            "covers the nodes of all providers, ComputePool chooses the provider."
        )
    return tuple(notes)


def _notes(pod: Pod, claims: tuple[str, ...]) -> list[str]:
    notes = []
    if len(claims) > 1:
        notes.append(f"Also selected by {', '.join(claims[1:])}; the oldest pool, {claims[0]}, keeps it.")
    if pod.allowed is not None:
        allowed = f"allows only {', '.join(pod.allowed)}" if pod.allowed else "is empty: it never leaves the primary"
        notes.append(f"Its annotation computepool.io/providers {allowed}.")
    if pod.burst and not pod.offers:
        notes.append(Reason.ADMITTED.help)
    if pod.shape.unmodelled:
        notes.append(f"Not looked at: its {', '.join(pod.shape.unmodelled)}; the scheduler decides on those.")
    return notes


def _misconfigured(pod: Pod, pool: ComputePool, assessment: Assessment) -> list[str]:
    """Say what is wrong with the configuration of the providers that the pod may use."""
    may_use = [pool.spec.primary.name, *(standby.name for standby in pool.spec.standbys if pod.allows(standby.name))]
    found = findings_about(assessment.configuration.findings, may_use)
    return [f"{finding.reason}: {sentence_of(finding)}" for finding in found]


def _why_unclaimed(view: View, pod: Pod) -> str:
    if pod.namespace in view.reserved:
        return f"Pods of namespace {pod.namespace} are never managed."
    resources = sorted({pool.spec.accelerator.resource_name for pool in view.store.pools.values()})
    if not resources:
        return "There is no ComputePool in the cluster."
    if not any(request_of(pod, resource) for resource in resources):
        return f"It requests no accelerator of any pool ({', '.join(resources)})."
    return "Its labels or its namespace's labels match no pool's spec.workloads."
