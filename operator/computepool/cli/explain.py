"""`computepool explain POD`: the operator's own decision, on one read of the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.supply import Supply
from computepool.assess.demand.overflow import Hold
from computepool.cli.console import span
from computepool.cli.refused import standing
from computepool.cli.view import NotFoundError, View
from computepool.decide.plan import BlockedMove, Burst, Move, Plan
from computepool.decide.reconcile import reconcile
from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool, ConditionStatus, Mode
from computepool.model.cluster import Pod
from computepool.model.quantity import whole
from computepool.model.reasons import Reason
from computepool.model.state import PoolState, recorded_in, restarted
from computepool.report.words import place_words


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a pod is where it is, or waits."""

    pod: Pod
    pool: str
    headline: str
    reason: Reason | None
    rows: tuple[tuple[str, str, str], ...]
    """Provider, verdict and its meaning, in the order of preference."""
    notes: tuple[str, ...] = ()


def explain(view: View, namespace: str, name: str) -> Explanation:
    """Explain one pod. Raises NotFoundError where there is none of that name."""
    pod = next((p for p in view.store.pods() if p.namespace == namespace and p.name == name), None)
    if pod is None:
        raise NotFoundError(
            f"there is no pod {name!r} in namespace {namespace!r} that has not ended: check the name, and -n NAMESPACE"
        )
    claims = view.store.claims_of(pod.uid)
    if not claims:
        return Explanation(pod, "", "No ComputePool looks after this pod.", None, (), (_unclaimed(view, pod),))
    snapshot = view.store.snapshot(claims[0])
    outcome = reconcile(snapshot, _state_of(snapshot.pool), view.now)
    assessment, plan = outcome.assessment, outcome.plan
    notes = list(_notes(pod, claims))
    observed = snapshot.pool.spec.mode is Mode.OBSERVE
    if observed:
        notes.append(Reason.OBSERVING.help)
    if plan.frozen:
        notes.append(f"Nothing is decided: {plan.frozen}.")
    if plan.held_back:
        notes.append(f"No running pod is moved: {plan.held_back}.")
    if pod.node:
        return _bound(pod, claims[0], assessment, plan, view, tuple(notes), observed=observed)
    return _waiting(pod, claims[0], plan, view.now, tuple(notes), observed=observed)


def _state_of(pool: ComputePool) -> PoolState:
    """Return the recorded state, and since when the primary is stable as far as conditions and breakers tell.

    A new leader starts that timer anew; here nobody has taken over.
    """
    state = restarted(recorded_in(pool))
    saturated = pool.status.condition("Saturated")
    if saturated is None or saturated.status is not ConditionStatus.FALSE:
        return state
    since = max(saturated.last_transition_time.timestamp(), state.breaker(pool.spec.primary.name).since)
    return PoolState(state.recorded, msgspec.structs.replace(state.memory, stable_since=since))


def _bound(
    pod: Pod, pool: str, assessment: Assessment, plan: Plan, view: View, notes: tuple[str, ...], *, observed: bool
) -> Explanation:
    now = view.now
    supply = next((s for s in assessment.supplies if any(info.node.name == pod.node for info in s.nodes)), None)
    if supply is None:
        headline = f"Runs on node {pod.node}."
        return Explanation(pod, pool, headline, Reason.RUNS_ELSEWHERE, _offers(pod, now), notes)
    runs = f"Runs on {supply.provider.name}, node {pod.node}"
    notes = (*notes, *_troubles(pod, supply, assessment))
    move = next((move for move in plan.moves if move.pod.uid == pod.uid), None)
    if move is not None:
        headline, reason, more = _moving(runs, move, view, observed=observed)
        return Explanation(pod, pool, headline, reason, _offers(pod, now), (*notes, *more))
    stay = next((stay for stay in plan.blocked if stay.pod.uid == pod.uid), None)
    if stay is not None:
        until = f", at most {span(stay.until - now)} more" if stay.until and stay.until > now else ""
        rows = tuple((name, str(reason), reason.help) for name, reason in stay.rejected)
        well = not supply.provider.primary and supply.breaker.closed and pod.node not in supply.unhealthy
        wish = "may come home" if well else "should leave it"
        headline = f"{runs}, {wish}, and stays{until}."
        return Explanation(pod, pool, headline, _foremost(stay), rows or _offers(pod, now), notes)
    reason = Reason.RUNS_ON_PRIMARY if supply.provider.primary else Reason.RUNS_ON_STANDBY
    return Explanation(pod, pool, f"{runs}.", reason, _offers(pod, now), notes)


def _moving(runs: str, move: Move, view: View, *, observed: bool) -> tuple[str, Reason, tuple[str, ...]]:
    """Return the headline, the reason and the notes of a pod that is to be moved."""
    where = place_words(move)
    if observed:
        return f"{runs}; would be moved to {where}.", move.reason, ()
    if view.refusals is None:
        notes = ("Its events may not be listed, so a disruption budget may refuse that without being seen here.",)
        return f"{runs}; about to be moved to {where}.", move.reason, notes
    held = standing(view.refusals, move.pod.uid, view.now)
    if held is None:
        return f"{runs}; about to be moved to {where}.", move.reason, ()
    headline = (
        f"{runs}; to be moved to {where}, and its eviction has been refused for {span(held.seconds)}: "
        f"it is tried again within {span(held.again)}."
    )
    return headline, Reason.EVICTION_REFUSED, (held.note,) if held.note else ()


def _foremost(decision: BlockedMove | Hold) -> Reason:
    """Return the reason to be told: where a provider is out of reach for want of money alone, that is it."""
    unclear = decision.reason in (Reason.WOULD_STRAND, Reason.NO_PROVIDER_LEFT)
    unpaid = any(reason is Reason.BUDGET_EXHAUSTED for _, reason in decision.rejected)
    return Reason.BUDGET_EXHAUSTED if unclear and unpaid else decision.reason


def _troubles(pod: Pod, supply: Supply, assessment: Assessment) -> list[str]:
    """Say what is wrong with the pod's node and provider."""
    notes = []
    if pod.node in supply.unhealthy:
        found = assessment.health.providers[supply.provider.name].unhealthy[pod.node]
        detail = f" ({found.detail})" if found.detail else ""
        notes.append(f"Node {pod.node} counts as sick: {found.reason}{detail}. {found.reason.help}")
    breaker = supply.breaker
    if not breaker.closed:
        why = f": {breaker.reason.help}" if breaker.reason else "."
        notes.append(f"The breaker of {supply.provider.name} is {breaker.state}{why}")
    return notes


def _waiting(pod: Pod, pool: str, plan: Plan, now: float, notes: tuple[str, ...], *, observed: bool) -> Explanation:
    decisions: list[Burst | Hold] = [*plan.bursts, *plan.holds]
    decision = next((d for d in decisions if d.pod.uid == pod.uid), None)
    rows = tuple((name, str(reason), reason.help) for name, reason in (decision.rejected if decision else ()))
    if isinstance(decision, Burst):
        chosen = (decision.provider, str(Reason.CHOSEN), Reason.CHOSEN.help)
        headline = f"{'Would be' if observed else 'About to be'} sent on to {decision.provider}."
        return Explanation(pod, pool, headline, decision.reason, (*rows, chosen), notes)
    waits = f"Has waited for {span(now - pod.since)}"
    if isinstance(decision, Hold):
        where = f", now for {decision.provider}" if decision.provider else ""
        until = f", at most {span(decision.until - now)} more" if decision.until else ""
        return Explanation(pod, pool, f"{waits}{where}{until}.", _foremost(decision), rows or _offers(pod, now), notes)
    return Explanation(pod, pool, f"{waits}.", None, _offers(pod, now), notes)


def _offers(pod: Pod, now: float) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (offer.provider, "Offered", f"The pod was sent on to this provider {span(now - offer.at)} ago.")
        for offer in pod.offers
    )


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


def _unclaimed(view: View, pod: Pod) -> str:
    if pod.namespace in view.reserved:
        return f"Pods of namespace {pod.namespace} are never managed."
    wanted = sorted({pool.spec.accelerator.resource_name for pool in view.store.pools.values()})
    if not wanted:
        return "There is no ComputePool in the cluster."
    if not any(request_of(pod, resource) for resource in wanted):
        return f"It requests no accelerator of any pool ({', '.join(wanted)})."
    return "Its labels or its namespace's labels match no pool's spec.workloads."


def show(explanation: Explanation, console: Console) -> None:
    """Print an explanation for a person."""
    pod = explanation.pod
    asks = [f"{whole(amount)} {name}" for name, amount in pod.shape.requests if "/" in name]
    details = [*asks, f"priority {pod.priority}", *([f"pool {explanation.pool}"] if explanation.pool else [])]
    console.print(Text.assemble((f"{pod.namespace}/{pod.name}", "bold"), "  ", "  ".join(details)))
    console.print(explanation.headline)
    if explanation.reason is not None:
        console.print(Text.assemble((str(explanation.reason), "bold"), f": {explanation.reason.help}"))
    if explanation.rows:
        console.print()
        console.print(_table(explanation.rows))
    if explanation.notes:
        console.print()
    for note in explanation.notes:
        console.print(note)


def _table(rows: tuple[tuple[str, str, str], ...]) -> Table:
    table = Table(box=None, pad_edge=True)
    for heading in ("Provider", "Verdict", "Meaning"):
        table.add_column(heading, no_wrap=heading != "Meaning")
    for row in rows:
        table.add_row(*row, style=_STYLES.get(row[1], "default"))
    return table


_STYLES: Mapping[str, str] = {str(Reason.CHOSEN): "green"}
