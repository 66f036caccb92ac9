"""`computepool explain POD`: the operator's own decision, on one read of the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from computepool.assess.assessment import Assessment, assess
from computepool.assess.overflow import Hold
from computepool.assess.supply import Supply
from computepool.cli.console import span
from computepool.cli.view import NotFoundError, View
from computepool.decide.decision import decide
from computepool.decide.plan import Burst, Plan
from computepool.model.api import ComputePool, ConditionStatus, Mode
from computepool.model.quantity import whole
from computepool.model.reasons import Reason
from computepool.model.snapshot import Pod
from computepool.model.state import Breaker, PoolState, recorded_state


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
    state = _recorded(snapshot.pool)
    assessment = assess(snapshot, state, view.now)
    plan = decide(snapshot, assessment, state, view.now)
    notes = list(_notes(pod, claims))
    observed = snapshot.pool.spec.mode is Mode.OBSERVE
    if observed:
        notes.append(Reason.OBSERVING.help)
    if plan.frozen:
        notes.append(f"Nothing is decided: {plan.frozen}.")
    if plan.held_back:
        notes.append(f"No running pod is moved: {plan.held_back}.")
    if pod.node:
        return _bound(pod, claims[0], assessment, plan, view.now, tuple(notes), observed=observed)
    return _waiting(pod, claims[0], plan, view.now, tuple(notes), observed=observed)


def _recorded(pool: ComputePool) -> PoolState:
    """Return the recorded state, and since when the primary is stable as far as conditions and breakers tell.

    A new leader starts that timer anew; here nobody has taken over.
    """
    state = recorded_state(pool)
    saturated = pool.status.condition("Saturated")
    if saturated is None or saturated.status is not ConditionStatus.FALSE:
        return state
    breaker = state.breakers.get(pool.spec.primary.name, Breaker())
    since = max(saturated.last_transition_time.timestamp(), breaker.since)
    return msgspec.structs.replace(state, stable_since=since)


def _bound(
    pod: Pod, pool: str, assessment: Assessment, plan: Plan, now: float, notes: tuple[str, ...], *, observed: bool
) -> Explanation:
    supply = next((s for s in assessment.supplies if any(use.node.name == pod.node for use in s.nodes)), None)
    if supply is None:
        headline = f"Runs on node {pod.node}."
        return Explanation(pod, pool, headline, Reason.RUNS_ELSEWHERE, _offers(pod, now), notes)
    runs = f"Runs on {supply.target.name}, node {pod.node}"
    notes = (*notes, *_troubles(pod, supply))
    move = next((move for move in plan.moves if move.pod.uid == pod.uid), None)
    if move is not None:
        headline = f"{runs}; {'would be' if observed else 'about to be'} moved to {move.target}."
        return Explanation(pod, pool, headline, move.reason, _offers(pod, now), notes)
    stay = next((stay for stay in plan.stays if stay.pod.uid == pod.uid), None)
    if stay is not None:
        until = f", at most {span(stay.until - now)} more" if stay.until and stay.until > now else ""
        rows = tuple((name, str(reason), reason.help) for name, reason in stay.rejected)
        well = not supply.target.primary and supply.breaker.closed and pod.node not in supply.sick
        wish = "may come home" if well else "should leave it"
        headline = f"{runs}, {wish}, and stays{until}."
        return Explanation(pod, pool, headline, stay.reason, rows or _offers(pod, now), notes)
    reason = Reason.RUNS_ON_PRIMARY if supply.target.primary else Reason.RUNS_ON_STANDBY
    return Explanation(pod, pool, f"{runs}.", reason, _offers(pod, now), notes)


def _troubles(pod: Pod, supply: Supply) -> list[str]:
    """Say what is wrong with the pod's node and provider."""
    notes = []
    if pod.node in supply.sick:
        notes.append(f"Node {pod.node} counts as sick.")
    breaker = supply.breaker
    if not breaker.closed:
        why = f": {breaker.reason.help}" if breaker.reason else "."
        notes.append(f"The breaker of {supply.target.name} is {breaker.state}{why}")
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
        return Explanation(pod, pool, f"{waits}{where}{until}.", decision.reason, rows or _offers(pod, now), notes)
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
    if not any(pod.shape.request(resource) for resource in wanted):
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
