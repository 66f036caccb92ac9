"""A provider's breaker: one step from what it was and what is seen now.

Closed -> Open     the provider fails, or has not bound several pods in time, or is drained by hand.
Open -> HalfOpen   its time is over and nothing was wrong for clearSeconds, and it has a node to try.
HalfOpen -> Closed a new pod there has been ready for proveSeconds; or none came for as long as it was open, or one that
                   came is neither ready nor failing long after (it waits for an image, say), and nothing was wrong:
                   else its nodes would be kept from everybody for want of a pod that tells. It has not proved itself
                   then, and would be open for longer the next time, so that one that flaps is tried ever more seldom.
HalfOpen -> Open   it fails again, or the new pod does; its time is then twice as long.

Always holds (invariant 8): all that a step needs, save timers that start anew on a restart, is in the pool's status, so
that a restart never makes it half-open or closed sooner. While too many providers have failed at once none opens,
unless by hand.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from computepool.assess.health import ProviderHealth
from computepool.model.api import Breaker as BreakerSpec
from computepool.model.api import BreakerState
from computepool.model.api import Health as HealthSpec
from computepool.model.reasons import Reason
from computepool.model.state import Breaker

JITTER = 0.1
LACKING = frozenset({Reason.DRAINED, Reason.PROVISIONING_FAILED, Reason.CANARY_FAILED})
"""Why a breaker may be open though nothing is known to be wrong with what runs there: by hand, or for want of room for
new pods. That may last for hours, and is no sign that our own view is at fault."""
_DOUBLINGS = 32


class Signs(msgspec.Struct, frozen=True):
    """What is seen of a provider, as far as its breaker goes by it."""

    health: ProviderHealth
    drained: bool = False
    unbound: int = 0
    """How many pods it did not bind in time, one after another, since its breaker last changed."""
    node: str = ""
    """The node to try; empty: it has none that takes pods."""
    on_demand: bool = False
    """Whether it makes nodes, so that it can be tried without one."""
    tried: bool = False
    """Whether a new pod is on it, or on its way."""
    ready: bool = False
    """Whether a new pod is ready on it."""
    failing: bool = False
    """Whether a new pod failed on it, and none is ready."""
    timeout: float = 0.0
    """Seconds that a pod sent there is given to be bound."""


def step(before: Breaker, signs: Signs, spec: HealthSpec, key: str, now: float, *, held: bool = False) -> Breaker:
    """Return the breaker's next state. `key`: what is unlike for each breaker; `held`: too many have failed at once."""
    match before.state:
        case BreakerState.CLOSED:
            return _from_closed(before, signs, spec.breaker, key, now, held=held)
        case BreakerState.OPEN:
            return _from_open(before, signs, spec, key, now, held=held)
        case BreakerState.HALF_OPEN:
            return _from_half_open(before, signs, spec, key, now, held=held)


def look_again(breaker: Breaker, signs: Signs, spec: HealthSpec, key: str) -> Sequence[float]:
    """Return when time alone may change it, in seconds since the epoch; a time that is over waits for a change."""
    if breaker.state is BreakerState.OPEN and breaker.clear_since is not None:
        return [max(breaker.retry_at or 0.0, breaker.clear_since + spec.clear_seconds)]
    if breaker.state is BreakerState.HALF_OPEN:
        if breaker.proving_since is not None:
            return [breaker.proving_since + spec.breaker.prove_seconds]
        return [_unproven_until(breaker, spec, key, timeout) for timeout in (None, signs.timeout)]
    return []


def exceeded_of(failed: Iterable[str], providers: int, percent: int) -> str:
    """Say that too many providers have failed at once: more than one, and more than `percent` of them; else nothing."""
    names = sorted(failed)
    if len(names) < 2 or 100 * len(names) <= percent * providers:
        return ""
    return (
        f"{len(names)} of {providers} providers have failed at once ({', '.join(names)}), more than "
        f"health.maxUnhealthyPercent ({percent} %) allows: no running pod is moved and no node quarantined until fewer "
        "have"
    )


def has_failed(breaker: Breaker, signs: Signs) -> bool:
    """Say whether the provider counts as failed: open because it was sick, or failing now; not where it is drained.

    Nor where all of its nodes are gone: of that it can't recover by itself, and it would count for ever.
    """
    sick = breaker.state is BreakerState.OPEN and breaker.reason not in LACKING and signs.health.known
    return not signs.drained and (sick or signs.health.failing is not None)


def backoff(spec: BreakerSpec, failures: int, key: str) -> float:
    """Return for how many seconds it stays open: doubled each time, never longer than the longest.

    The jitter is a tenth at most and worked out of the key, so that every pass and every leader gets the same.
    """
    digest = blake2b(f"{key}/{failures}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest, "big") / 0xFFFF_FFFF
    doubled = float(spec.backoff_seconds << min(failures - 1, _DOUBLINGS))
    return min(doubled * (1 + JITTER * (2 * share - 1)), float(spec.max_backoff_seconds))


def _opened(before: Breaker, reason: Reason, spec: BreakerSpec, key: str, now: float) -> Breaker:
    failures = before.failures + 1
    return Breaker(BreakerState.OPEN, reason, now, now + backoff(spec, failures, key), failures)


def _drained(before: Breaker, now: float) -> Breaker:
    return Breaker(BreakerState.OPEN, Reason.DRAINED, now, failures=before.failures)


def _from_closed(before: Breaker, signs: Signs, spec: BreakerSpec, key: str, now: float, *, held: bool) -> Breaker:
    if signs.drained:
        return _drained(before, now)
    unbound = Reason.PROVISIONING_FAILED if signs.unbound >= spec.failures else None
    reason = signs.health.failing or unbound
    return before if reason is None or held else _opened(before, reason, spec, key, now)


def _from_open(before: Breaker, signs: Signs, spec: HealthSpec, key: str, now: float, *, held: bool) -> Breaker:
    by_hand = before.reason is Reason.DRAINED
    failing = signs.health.failing
    if by_hand and not signs.drained and failing is not None:
        return before if held else _opened(before, failing, spec.breaker, key, now)
    clear = before.clear_since
    if signs.health.troubled or clear is None:
        clear = None if signs.health.troubled else now
    over = by_hand or (clear is not None and now >= max(before.retry_at or 0.0, clear + spec.clear_seconds))
    if signs.drained and over and failing is None and not by_hand:
        # From now on nothing but the drain keeps it open.
        return _drained(before, now)
    if signs.drained or not over or failing is not None or not (signs.node or signs.on_demand):
        return before if clear == before.clear_since else msgspec.structs.replace(before, clear_since=clear)
    return Breaker(BreakerState.HALF_OPEN, before.reason, now, failures=before.failures, node=signs.node)


def _from_half_open(before: Breaker, signs: Signs, spec: HealthSpec, key: str, now: float, *, held: bool) -> Breaker:
    if signs.drained:
        return _drained(before, now)
    failed = signs.failing or signs.unbound > 0
    reason = signs.health.failing or (Reason.CANARY_FAILED if failed else None)
    if reason is not None:
        return before if held else _opened(before, reason, spec.breaker, key, now)
    nodes = bool(signs.node) or signs.on_demand
    unproven = nodes and not signs.ready and not signs.health.troubled
    if unproven and now >= _unproven_until(before, spec, key, signs.timeout if signs.tried else None):
        return Breaker(since=now, failures=before.failures)
    proving = None
    if signs.ready:
        proving = now if before.proving_since is None or before.node != signs.node else before.proving_since
        if now >= proving + spec.breaker.prove_seconds:
            return Breaker(since=now)
    if (proving, signs.node) == (before.proving_since, before.node):
        return before
    return msgspec.structs.replace(before, proving_since=proving, node=signs.node)


def _unproven_until(breaker: Breaker, spec: HealthSpec, key: str, timeout: float | None) -> float:
    """Return for how long a proof is awaited: None, of pods that do not come; else of those that have `timeout`.

    The latter have as much time again, whenever in the former they came. It is not counted for each of them: pods that
    come and go must not put the end off.
    """
    backed_off = max(backoff(spec.breaker, max(1, breaker.failures), key), float(spec.clear_seconds))
    return breaker.since + backed_off + (0.0 if timeout is None else max(timeout, backed_off))
