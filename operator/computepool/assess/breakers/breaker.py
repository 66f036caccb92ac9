"""A provider's circuit breaker: one step, from its state before and what is seen now.

Closed -> Open      The provider fails, or did not bind pods of several workloads and shapes in time, or is drained by
                    hand.
Open -> HalfOpen    Its backoff is over, it had no fault for clearSeconds, and it has a node to try.
Open -> Closed      (a) It made no nodes in time, was full since, and now has a free accelerator: a pod can use it at
                    once; or
                    (b) only a drill has opened it, the drill has ended, and nothing is wrong: a rehearsal is no
                    evidence against it.
HalfOpen -> Closed  (a) A new pod was ready there for proveSeconds; or
                    (b) it has no fault, and until `_unproven_until` no pod came, or the pod gave no result (its image
                    is still pulled, for example). Without (b) the provider would stay unused for want of a pod that
                    proves it. In (b) the failures are kept, so the next backoff is longer.
HalfOpen -> Open    The provider or the new pod fails; the next backoff is twice as long.

Invariant 8: the status records all that a step needs, except `BreakerTimers`. These timers start anew after a restart,
so a restart never makes a breaker half-open or closed sooner. While too many providers have failed at once, a breaker
opens only by hand.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from computepool.assess.health.providers import ProviderHealth
from computepool.model.api import BreakerSpec, BreakerState, HealthSpec
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, BreakerTimers

JITTER = 0.1
NO_FAULT_OF_PODS = frozenset({Reason.DRAINED, Reason.PROVISIONING_FAILED, Reason.CANARY_FAILED})
"""Reasons of an open breaker while the pods that run there may be healthy: the provider was drained by hand, or had no
room for new pods. That may last for hours, and does not suggest that the operator's own view is at fault."""
NO_TIMERS = BreakerTimers()
_DOUBLINGS = 32
_MILLISECONDS = 3

Step = tuple[Breaker, BreakerTimers]


class BreakerInput(msgspec.Struct, frozen=True):
    """What a provider's breaker depends on."""

    health: ProviderHealth
    drained: bool = False
    not_bound: int = 0
    """Of how many workloads, and of as many shapes, it did not bind a pod in time, since its breaker last changed."""
    node: str = ""
    """The node to try; empty if no node takes pods."""
    free: bool = False
    """Whether a node that takes pods has a free accelerator. Only breakers that are not closed depend on it."""
    makes_nodes: bool = False
    """Whether it makes nodes on demand, so that it can be tried without a node."""
    tried: bool = False
    """Whether a new pod is on it, or on its way."""
    ready: bool = False
    """Whether a new pod is ready on it."""
    failing: bool = False
    """Whether a new pod failed on it, and no new pod is ready."""
    timeout: float = 0.0
    """How many seconds a pod that was sent there is given to be bound."""
    drilled_since: float | None = None
    """Since when a drill was under way in the pass before; None if none was."""

    @property
    def can_be_tried(self) -> bool:
        """Whether a pod could go there at all."""
        return bool(self.node) or self.makes_nodes


class BreakerRules(msgspec.Struct, frozen=True):
    """The rules of the spec for one breaker."""

    health: HealthSpec
    key: str
    """The unique name of the breaker; it seeds the jitter."""

    def backoff(self, failures: int) -> float:
        """Return for how many seconds the breaker stays open after so many failures."""
        return backoff(self.health.breaker, failures, self.key)


def step(
    before: Breaker, timers: BreakerTimers, seen: BreakerInput, rules: BreakerRules, now: float, *, held: bool = False
) -> Step:
    """Return the breaker's next state and timers. `held`: too many providers have failed at once."""
    match before.state:
        case BreakerState.CLOSED:
            return _from_closed(before, seen, rules, now, held=held), NO_TIMERS
        case BreakerState.OPEN:
            return _from_open(before, timers, seen, rules, now, held=held)
        case BreakerState.HALF_OPEN:
            return _from_half_open(before, timers, seen, rules, now, held=held)


def rechecks(breaker: Breaker, timers: BreakerTimers, seen: BreakerInput, rules: BreakerRules) -> Sequence[float]:
    """Return when time alone may change the breaker, in seconds since the epoch. Past times have no effect."""
    if breaker.state is BreakerState.OPEN and timers.clear_since is not None:
        return [max(breaker.retry_at or 0.0, timers.clear_since + rules.health.clear_seconds)]
    if breaker.state is BreakerState.HALF_OPEN:
        if timers.proving_since is not None:
            return [timers.proving_since + rules.health.breaker.prove_seconds]
        return [_unproven_until(breaker, rules, timeout) for timeout in (None, seen.timeout)]
    return []


def exceeded_of(failed: Iterable[str], providers: int, percent: int) -> str:
    """Explain that more than one provider, and more than `percent` of them, failed at once; empty otherwise."""
    names = sorted(failed)
    if len(names) < 2 or 100 * len(names) <= percent * providers:
        return ""
    return (
        f"{len(names)} of {providers} providers have failed at once ({', '.join(names)}), more than "
        f"health.maxUnhealthyPercent ({percent} %) allows: no running pod is moved and no node quarantined until fewer "
        "have"
    )


def has_failed(breaker: Breaker, seen: BreakerInput) -> bool:
    """Say whether the provider counts as failed: its breaker opened because it was unhealthy, or it fails now.

    A drained provider does not count. Neither does a provider that can't recover by itself, and would count for ever:
    it has no nodes, or a signal has opened its breaker and is Unknown now, while the source of metrics is down.
    """
    judged = seen.health.known and not (breaker.reason is Reason.METRIC_UNHEALTHY and seen.health.unproven)
    unhealthy = breaker.state is BreakerState.OPEN and breaker.reason not in NO_FAULT_OF_PODS and judged
    return not seen.drained and (unhealthy or seen.health.failing is not None)


def backoff(spec: BreakerSpec, failures: int, key: str) -> float:
    """Return for how many seconds a breaker stays open: doubled each time, up to maxBackoffSeconds.

    The jitter is a tenth at most. It follows from the key, so that every pass and every leader gets the same value.
    """
    digest = blake2b(f"{key}/{failures}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest, "big") / 0xFFFF_FFFF
    doubled = float(spec.backoff_seconds << min(failures - 1, _DOUBLINGS))
    return min(doubled * (1 + JITTER * (2 * share - 1)), float(spec.max_backoff_seconds))


def _opened(before: Breaker, reason: Reason, rules: BreakerRules, now: float) -> Breaker:
    failures = before.failures + 1
    # The status holds milliseconds, and this time has to survive the way into the status and back.
    retry_at = round(now + rules.backoff(failures), _MILLISECONDS)
    return Breaker(BreakerState.OPEN, reason, now, retry_at, failures)


def _drained(before: Breaker, now: float) -> Breaker:
    return Breaker(BreakerState.OPEN, Reason.DRAINED, now, failures=before.failures)


def _from_closed(before: Breaker, seen: BreakerInput, rules: BreakerRules, now: float, *, held: bool) -> Breaker:
    if seen.drained:
        return _drained(before, now)
    not_bound = Reason.PROVISIONING_FAILED if seen.not_bound >= rules.health.breaker.failures else None
    reason = seen.health.failing or not_bound
    return before if reason is None or held else _opened(before, reason, rules, now)


def _from_open(
    before: Breaker, timers: BreakerTimers, seen: BreakerInput, rules: BreakerRules, now: float, *, held: bool
) -> Step:
    by_hand = before.reason is Reason.DRAINED
    failing = seen.health.failing
    was_full = timers.was_full or not seen.free
    well = not (seen.drained or seen.health.troubled or failing)
    if well and before.reason is Reason.PROVISIONING_FAILED and seen.makes_nodes and timers.was_full and seen.free:
        return Breaker(since=now, failures=before.failures), NO_TIMERS
    if well and by_hand and seen.can_be_tried and not seen.health.to_read and _by_drill_alone(before, seen):
        return Breaker(since=now), NO_TIMERS
    if by_hand and not seen.drained and failing is not None:
        return (before, timers) if held else (_opened(before, failing, rules, now), NO_TIMERS)
    clear = None if seen.health.troubled else timers.clear_since
    if clear is None and not seen.health.troubled:
        clear = now
    waited = by_hand or (clear is not None and now >= max(before.retry_at or 0.0, clear + rules.health.clear_seconds))
    if seen.drained and waited and failing is None and not by_hand:
        # From now on only the drain keeps it open.
        return _drained(before, now), NO_TIMERS
    undecided = failing is not None or bool(seen.health.to_read)
    if seen.drained or not waited or undecided or not seen.can_be_tried:
        return before, BreakerTimers(clear_since=clear, was_full=was_full)
    return Breaker(BreakerState.HALF_OPEN, before.reason, now, failures=before.failures, node=seen.node), NO_TIMERS


def _by_drill_alone(before: Breaker, seen: BreakerInput) -> bool:
    """Say whether the breaker was closed, and the provider proven, when a drill opened it."""
    return seen.drilled_since is not None and before.since >= seen.drilled_since and not before.failures


def _from_half_open(
    before: Breaker, timers: BreakerTimers, seen: BreakerInput, rules: BreakerRules, now: float, *, held: bool
) -> Step:
    if seen.drained:
        return _drained(before, now), NO_TIMERS
    not_bound = Reason.PROVISIONING_FAILED if seen.not_bound else None
    reason = seen.health.failing or (Reason.CANARY_FAILED if seen.failing else not_bound)
    if reason is not None:
        return (before, timers) if held else (_opened(before, reason, rules, now), NO_TIMERS)
    no_result = seen.can_be_tried and not seen.ready and not seen.health.troubled
    if no_result and now >= _unproven_until(before, rules, seen.timeout if seen.tried else None):
        return Breaker(since=now, failures=before.failures), NO_TIMERS
    proving = None
    if seen.ready:
        proving = now if timers.proving_since is None or before.node != seen.node else timers.proving_since
        if now >= proving + rules.health.breaker.prove_seconds:
            return Breaker(since=now), NO_TIMERS
    after = before if before.node == seen.node else msgspec.structs.replace(before, node=seen.node)
    return after, BreakerTimers(proving_since=proving)


def _unproven_until(breaker: Breaker, rules: BreakerRules, timeout: float | None) -> float:
    """Return when a half-open breaker closes without proof.

    If no pod came (`timeout` is None): after one backoff, clearSeconds at least. If a pod came: later by that time
    again or by the pod's `timeout`, whichever is longer. Further pods do not extend it.
    """
    backed_off = max(rules.backoff(max(1, breaker.failures)), float(rules.health.clear_seconds))
    return breaker.since + backed_off + (0.0 if timeout is None else max(timeout, backed_off))
