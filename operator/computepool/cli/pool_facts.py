"""What is decided about a pool as a whole, as texts by what they are about: admission, budget, costs, capacity."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from computepool.assess.capacity.supply import Supply, why_not_closed
from computepool.assess.health.pool_health import Health
from computepool.cli.decided_pool import DecidedPool
from computepool.decide.account.budget import hourly_cost
from computepool.decide.plan import Plan
from computepool.model.accelerators import request_of
from computepool.model.cluster import Pod
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.report.findings import NAMED
from computepool.report.formatting import counted, listed
from computepool.report.sentences import held_admission
from computepool.report.status import cost_per_hour

_IN_TURN: Final = {
    Reason.AT_MOVE_LIMIT: "a limit of moves, maxConcurrentMoves or perMinute",
    Reason.DWELLING: "failback.minDwellSeconds",
    Reason.AWAITS_REPLACEMENT: "the replacement of the pod before",
    Reason.MOVE_FAILED: "the wait after a move that came to nothing",
}
"""Reasons of pods that wait for their turn, and what they wait for."""


def facts_of(found: DecidedPool) -> Iterable[tuple[str, str]]:
    """Yield each fact with what it is about, in the order to print. Costs and amounts are those of the pool's spec."""
    assessment, plan = found.outcome.assessment, found.plan
    only_reported = " (only reported: mode is Observe)" if found.observed else ""
    held_back = f"no moves: {plan.held_back}" if plan.held_back else "made"
    yield "decisions", f"none: {plan.frozen}" if plan.frozen else held_back
    yield "saturated", _saturated(found)
    yield "admission", f"{_admission(found)}{only_reported if plan.admission.provider else ''}"
    yield "moves", f"{_moves(plan)}{only_reported if plan.moves else ''}"
    if plan.quarantine and found.observed:
        # Nodes that really get the taint are told one by one, for all pools together.
        names = sorted(plan.quarantine)
        yield "quarantine", f"{counted(len(names), 'node')}: {listed(names, NAMED)}{only_reported}"
    if found.snapshot.pool.spec.budget is not None:
        yield "budget", "exhausted" if plan.exhausted else "not exhausted"
    yield from _costs(found)
    for supply in assessment.supplies:
        yield from _about_provider(supply, assessment.health)


def _saturated(found: DecidedPool) -> str:
    saturation = found.outcome.assessment.saturation
    verdict = {True: "yes", False: "no", None: "unknown"}[saturation.saturated]
    soon = ""
    if saturation.saturated is not True and saturation.pressure_since is not None:
        soon = ", and yes if this lasts for saturation.sustainSeconds"
    elif saturation.saturated is True and saturation.relief_since is not None:
        soon = ", and no if this lasts for saturation.clearSeconds"
    return f"{verdict} ({saturation.reason}){soon}"


def _admission(found: DecidedPool) -> str:
    admission = found.plan.admission
    # A frozen pool keeps its admission.
    provider = found.outcome.state.recorded.admitting if found.plan.frozen else admission.provider
    if provider:
        return f"open to {provider}"
    return f"closed: {held_admission(admission)[1]}" if admission.held_by else "closed"


def _moves(plan: Plan) -> str:
    """Count the moves that may begin at once, and the pods that only wait for their turn."""
    counts = {reason: sum(blocked.reason is reason for blocked in plan.blocked) for reason in _IN_TURN}
    waiting = [f"{count} wait for {_IN_TURN[reason]} ({reason})" for reason, count in counts.items() if count]
    if not plan.moves and not waiting:
        return "none"
    return "; ".join([f"{len(plan.moves)} at once", *waiting])


def _costs(found: DecidedPool) -> Iterable[tuple[str, str]]:
    """Yield the hourly cost at the prices of the spec: of what runs now, and once pods are sent and moved."""
    supplies = found.outcome.assessment.supplies
    if all(supply.provider.price is None for supply in supplies):
        return
    now = sum((cost_per_hour(supply) or Decimal(0) for supply in supplies), Decimal(0))
    yield "cost per hour", f"{now:.2f}"
    yield "cost per hour once pods are sent and moved", f"{now + _added(found, supplies):.2f}"


def _added(found: DecidedPool, supplies: Sequence[Supply]) -> Decimal:
    """Return the hourly cost that the pods add, wherever they are sent and moved."""
    plan, resource = found.plan, found.snapshot.pool.spec.accelerator.resource_name
    providers = {supply.provider.name: supply.provider for supply in supplies}

    def cost(pod: Pod, name: str) -> Decimal:
        return hourly_cost(providers[name], request_of(pod, resource))

    sent = sum((cost(burst.pod, burst.provider) for burst in plan.bursts), Decimal(0))
    return sent + sum((cost(move.pod, move.target) - cost(move.pod, move.source) for move in plan.moves), Decimal(0))


def _about_provider(supply: Supply, health: Health) -> Iterable[tuple[str, str]]:
    name, limit = supply.provider.name, supply.provider.limit
    yield f"{name}: nodes", str(len(supply.nodes))
    yield f"{name}: accelerators", f"{supply.free // MILLI} of {whole(supply.allocatable)} free"
    held = f"{whole(supply.held)} held by the pool"
    yield f"{name}: capacity", held if limit is None else f"{held}, of {whole(limit)} (maxAccelerators)"
    reason = None if supply.breaker.closed else why_not_closed(supply.breaker, supply.provider)
    yield f"{name}: breaker", f"{supply.breaker.state}{f' ({reason})' if reason is not None else ''}"
    faults = {info.node.name: health.nodes[info.node.name] for info in supply.nodes if info.node.name in health.nodes}
    for about, counts in (("unhealthy nodes", True), ("faults that count after health.sustainSeconds", False)):
        texts = sorted(
            f"{node} ({fault.reason})" for node, fault in faults.items() if fault.unhealthy is counts and fault.present
        )
        if texts:
            yield f"{name}: {about}", f"{len(texts)}: {listed(texts, NAMED)}"
