"""What conditions say of failed providers, of running pods that can't leave them, and of money."""

from collections.abc import Iterable, Mapping

from computepool.decide.move.failover import troubled_infos
from computepool.decide.move.window import window_problem
from computepool.decide.plan import BlockedMove
from computepool.model.api import BreakerState
from computepool.model.reasons import Reason
from computepool.model.state import Breaker
from computepool.model.text import rfc3339
from computepool.report.moments import moment
from computepool.report.pass_report import PassReport
from computepool.report.trouble import Trouble

STUCK = (Reason.EVICTION_REFUSED, Reason.WOULD_STRAND)
"""Why pods that should leave where they are stay there, and somebody has to do something about it."""
NAMED = 3
"""So many pods are named in a condition; more would only make it long, and change with every pod."""


def held_back(outcome: PassReport) -> Trouble | None:
    """Say that running pods are not moved because too much has failed at once."""
    why = outcome.plan.held_back
    return Trouble(Reason.TOO_MANY_FAILED, why, "no running pod is moved") if why else None


def failed(outcome: PassReport) -> Trouble | None:
    """Say which providers are not used because they failed, and why the first of them is not."""
    away = {name: one for name, one in _not_closed(outcome).items() if one.reason is not Reason.DRAINED}
    if not away:
        return None
    name, breaker = next(iter(away.items()))
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    health = outcome.assessment.health.providers.get(name)
    detail = f" {health.detail}." if health is not None and health.detail else ""
    states = _states(away)
    why = f"{name}: {reason.help}{detail}{_again(breaker)}"
    return Trouble(reason, f"provider(s) not in full use: {states}. {why}", states)


def drained(outcome: PassReport) -> Trouble | None:
    """Say which providers are not used because somebody wants it so."""
    away = {name: one for name, one in _not_closed(outcome).items() if one.reason is Reason.DRAINED}
    if not away:
        return None
    states = _states(away)
    return Trouble(Reason.DRAINED, f"provider(s) not in full use: {states}. {Reason.DRAINED.help}", states)


def refused(outcome: PassReport) -> Trouble | None:
    """Say that disruption budgets have kept running pods for too long where they should leave."""
    return _stuck(outcome, Reason.EVICTION_REFUSED)


def stranded(outcome: PassReport) -> Trouble | None:
    """Say that running pods should leave where they are and have nowhere to go."""
    return _stuck(outcome, Reason.WOULD_STRAND)


def stuck(outcome: PassReport, reason: Reason) -> list[BlockedMove]:
    """Return the pods that should leave where they are and can't, for one of the reasons `STUCK`."""
    fleeing = {info.node.name for info in troubled_infos(outcome.assessment)}
    # One that could only not come home for want of room is well where it is.
    return [
        stay
        for stay in outcome.plan.blocked
        if stay.reason is reason and (reason is not Reason.WOULD_STRAND or stay.pod.node in fleeing)
    ]


def no_window(outcome: PassReport) -> Trouble | None:
    """Say that pods are never brought home, because the window can't open."""
    problem = window_problem(outcome.snapshot.pool.spec.failback.window)
    return Trouble(Reason.WINDOW_NEVER_OPENS, f"{problem}.", problem) if problem else None


def _not_closed(outcome: PassReport) -> Mapping[str, Breaker]:
    names = [supply.provider.name for supply in outcome.assessment.supplies]
    return {name: breaker for name in names if not (breaker := outcome.state.breaker(name)).closed}


def _states(breakers: Mapping[str, Breaker]) -> str:
    return ", ".join(f"{name} ({_words(one.state)})" for name, one in breakers.items())


def _words(state: BreakerState) -> str:
    return "half-open" if state is BreakerState.HALF_OPEN else str(state).lower()


def _again(breaker: Breaker) -> str:
    """Say what comes next."""
    if breaker.state is BreakerState.HALF_OPEN:
        return " That is over: it is tried with a first pod."
    if breaker.retry_at is None:
        return ""
    at = rfc3339(moment(breaker.retry_at))
    return f" It is tried again at {at} at the earliest, once it has been well for a while."


def _stuck(outcome: PassReport, reason: Reason) -> Trouble | None:
    blocked = stuck(outcome, reason)
    if not blocked:
        return None
    least = "at least " if outcome.plan.blocked_left_out else ""
    pods = f"{least}{len(blocked)} pod{'s' * (len(blocked) > 1)}, such as {_named(blocked)}"
    money = ""
    if reason is Reason.WOULD_STRAND and any(
        why is Reason.BUDGET_EXHAUSTED for one in blocked for _, why in one.rejected
    ):
        money = f" {Reason.BUDGET_EXHAUSTED.help}"
    return Trouble(reason, f"{reason.help} That is so for {pods}.{money}", pods)


def _named(blocked: Iterable[BlockedMove]) -> str:
    names = sorted(f"{stay.pod.namespace}/{stay.pod.name}" for stay in blocked)[:NAMED]
    return ", ".join(names)
