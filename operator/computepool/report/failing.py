"""What conditions say of failed providers, of running pods that can't leave them, and of money."""

from computepool.decide.failover import troubled_uses
from computepool.decide.plan import Stay
from computepool.decide.window import window_problem
from computepool.model.api import BreakerState
from computepool.model.reasons import Reason
from computepool.report.outcome import Outcome

Trouble = tuple[Reason, str]
_STUCK = (Reason.EVICTION_REFUSED, Reason.WOULD_STRAND)
NAMED = 3
"""So many pods are named in a condition; more would only make it long, and change with every pod."""


def held_back(outcome: Outcome) -> Trouble | None:
    """Say that running pods are not moved because too much has failed at once."""
    return (Reason.TOO_MANY_FAILED, outcome.plan.held_back) if outcome.plan.held_back else None


def failed(outcome: Outcome) -> Trouble | None:
    """Say which providers are not used, and why the first of them is not."""
    breakers = outcome.plan.state.breakers
    away = {s.target.name: b for s in outcome.assessment.supplies if (b := breakers.get(s.target.name)) is not None}
    away = {name: breaker for name, breaker in away.items() if not breaker.closed}
    if not away:
        return None
    name, breaker = next(iter(away.items()))
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    health = outcome.assessment.health.providers.get(name)
    detail = f" {health.detail}" if health is not None and health.detail else ""
    states = ", ".join(f"{one} ({_words(b.state)})" for one, b in away.items())
    return reason, f"provider(s) not in full use: {states}. {name}: {reason.help}{detail}"


def stuck(outcome: Outcome) -> Trouble | None:
    """Say that running pods should leave where they are and can't."""
    fleeing = {use.node.name for use in troubled_uses(outcome.assessment)}
    for reason in _STUCK:
        # One that could only not come home for want of room is well where it is.
        stays = [
            stay
            for stay in outcome.plan.stays
            if stay.reason is reason and (reason is not Reason.WOULD_STRAND or stay.pod.node in fleeing)
        ]
        if stays:
            return reason, f"{reason.help} Such as {_named(stays)}."
    return None


def no_window(outcome: Outcome) -> Trouble | None:
    """Say that pods are never brought home, because the window can't open."""
    problem = window_problem(outcome.snapshot.pool.spec.failback.window)
    return (Reason.WINDOW_NEVER_OPENS, f"{problem}.") if problem else None


def _words(state: BreakerState) -> str:
    return "half-open" if state is BreakerState.HALF_OPEN else str(state).lower()


def _named(stays: list[Stay]) -> str:
    names = sorted(f"{stay.pod.namespace}/{stay.pod.name}" for stay in stays)[:NAMED]
    return ", ".join(names)
