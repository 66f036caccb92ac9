"""`computepool explain POD`: the operator's own decision, on one read of the cluster."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from computepool.assess.assessment import Assessment, assess
from computepool.assess.overflow import Hold
from computepool.cli.view import NotFoundError, View
from computepool.decide.decision import decide
from computepool.decide.plan import Burst, Plan
from computepool.model.api import Mode
from computepool.model.quantity import whole
from computepool.model.reasons import Reason
from computepool.model.snapshot import Pod
from computepool.model.state import recorded_state


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
        raise NotFoundError(f"no unfinished pod {name!r} in namespace {namespace!r}: check the name, and -n NAMESPACE")
    claims = view.store.claims_of(pod.uid)
    if not claims:
        return Explanation(pod, "", "No ComputePool selects this pod.", None, (), (_unclaimed(view, pod),))
    snapshot = view.store.snapshot(claims[0])
    state = recorded_state(snapshot.pool)
    assessment = assess(snapshot, state, view.now)
    plan = decide(snapshot, assessment, state, view.now)
    notes = list(_notes(pod, claims))
    if snapshot.pool.spec.mode is Mode.OBSERVE:
        notes.append(f"{Reason.OBSERVING.help}")
    if plan.frozen:
        notes.append(f"Frozen: {plan.frozen}")
    if pod.node:
        return _bound(pod, claims[0], assessment, tuple(notes))
    return _waiting(pod, claims[0], plan, view.now, tuple(notes))


def _bound(pod: Pod, pool: str, assessment: Assessment, notes: tuple[str, ...]) -> Explanation:
    for supply in assessment.supplies:
        if any(use.node.name == pod.node for use in supply.nodes):
            target = supply.target
            reason = Reason.RUNS_ON_PRIMARY if target.primary else Reason.RUNS_ON_STANDBY
            return Explanation(pod, pool, f"Runs on {target.name}, node {pod.node}.", reason, _offers(pod), notes)
    return Explanation(pod, pool, f"Runs on node {pod.node}.", Reason.RUNS_ELSEWHERE, _offers(pod), notes)


def _waiting(pod: Pod, pool: str, plan: Plan, now: float, notes: tuple[str, ...]) -> Explanation:
    decisions: list[Burst | Hold] = [*plan.bursts, *plan.holds]
    decision = next((d for d in decisions if d.pod.uid == pod.uid), None)
    rows = tuple((name, str(reason), reason.help) for name, reason in (decision.rejected if decision else ()))
    if isinstance(decision, Burst):
        chosen = (decision.provider, str(Reason.CHOSEN), Reason.CHOSEN.help)
        headline = f"About to be sent on to {decision.provider}."
        return Explanation(pod, pool, headline, decision.reason, (*rows, chosen), notes)
    if isinstance(decision, Hold):
        where = f" for {decision.provider}" if decision.provider else ""
        until = f", at most {max(0.0, decision.until - now):.0f} s more" if decision.until else ""
        headline = f"Waits{where}{until} (since {now - pod.since:.0f} s)."
        return Explanation(pod, pool, headline, decision.reason, rows, notes)
    return Explanation(pod, pool, "Waits.", None, rows, notes)


def _offers(pod: Pod) -> tuple[tuple[str, str, str], ...]:
    return tuple((offer.provider, "Offered", "The pod was sent on to this provider.") for offer in pod.offers)


def _notes(pod: Pod, claims: tuple[str, ...]) -> list[str]:
    notes = []
    if len(claims) > 1:
        notes.append(f"Also selected by {', '.join(claims[1:])}; the oldest pool, {claims[0]}, keeps it.")
    if pod.allowed is not None:
        allowed = ", ".join(pod.allowed) or "none: it never leaves the primary"
        notes.append(f"Its annotation computepool.io/providers allows: {allowed}.")
    if pod.burst and not pod.offers:
        notes.append(Reason.ADMITTED.help)
    if pod.shape.unmodelled:
        notes.append(f"Not looked at by fit: {', '.join(pod.shape.unmodelled)}. The scheduler decides on those.")
    return notes


def _unclaimed(view: View, pod: Pod) -> str:
    wanted = sorted({pool.spec.accelerator.resource_name for pool in view.store.pools.values()})
    if not wanted:
        return "There is no ComputePool in the cluster."
    if not any(pod.shape.request(resource) for resource in wanted):
        return f"It requests no accelerator of any pool ({', '.join(wanted)})."
    return "Its labels or its namespace's labels match no pool's spec.workloads (kube-system is never selected)."


def show(explanation: Explanation, console: Console) -> None:
    """Print an explanation for a person."""
    pod = explanation.pod
    requests = ", ".join(f"{whole(amount)} {name}" for name, amount in pod.shape.requests if "/" in name)
    console.print(f"[bold]{pod.namespace}/{pod.name}[/bold]  {requests}  priority {pod.priority}")
    if explanation.pool:
        console.print(f"Pool: {explanation.pool}")
    console.print(explanation.headline)
    if explanation.reason is not None:
        console.print(f"[bold]{explanation.reason}[/bold]: {explanation.reason.help}")
    if explanation.rows:
        table = Table("Provider", "Verdict", "Meaning", box=None, pad_edge=False)
        for row in explanation.rows:
            table.add_row(*row)
        console.print(table)
    for note in explanation.notes:
        console.print(f"- {note}")
