"""Which pods a standby provider did not bind in time, in a row: its breaker counts them.

A pod counts when its time at the provider is over, if by our account it had a place there all the while, or if the
provider makes nodes on demand. A full provider has not failed. These pods do not count:
- a pod that was offered before the latest pod that the provider has bound: then the pod itself is probably at fault;
- a pod that was offered before the breaker last changed;
- a pod that a single node can take: that node may be full;
- a pod with constraints that fit does not model (volumes, anti-affinity, host ports): it may have no place there.
"""

from collections.abc import Mapping, Sequence

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import NodeInfo, Pod, members_on
from computepool.model.snapshot import Snapshot
from computepool.model.state import Fitting, PoolState


class NotBound(msgspec.Struct, frozen=True):
    """The pods that standbys did not bind in time."""

    pods: Mapping[str, frozenset[str]]
    """By provider: uids. Only providers with such pods are in it."""
    last_bound_offer: Mapping[str, float]
    """By provider: when the latest pod that it has bound was offered to it."""
    recheck_at: float | None
    """When the next pod's time is over."""


def not_bound_in_time(
    snapshot: Snapshot,
    providers: Sequence[Provider],
    members: Mapping[str, Sequence[NodeInfo]],
    state: PoolState,
    now: float,
) -> NotBound:
    """Return the pods that each standby did not bind in time, also pods that found a place elsewhere since."""
    pods: dict[str, frozenset[str]] = {}
    bound: dict[str, float] = {}
    rechecks: list[float] = []
    memory = state.memory
    for provider in providers:
        if provider.primary:
            continue
        name = provider.name
        late = _late(snapshot, provider, memory.fitting, rechecks, now)
        before = memory.not_bound.get(name, frozenset())
        if not late and not before:
            continue
        known = memory.last_bound_offer.get(name, 0.0)
        latest = max(_last_bound_offer(members[name], snapshot.pool.name, name), known)
        bound[name] = latest
        if latest > known:
            before = frozenset()
        oldest = max(latest, state.breaker(name).since)
        if found := before | {pod.uid for pod, at in late if at > oldest}:
            pods[name] = found
    return NotBound(pods, bound, min(rechecks, default=None))


def _late(
    snapshot: Snapshot, provider: Provider, fitting: Fitting, rechecks: list[float], now: float
) -> list[tuple[Pod, float]]:
    """Return the pods whose time is over, and when each was offered. Add the other pods' ends to `rechecks`."""
    late = []
    for pod in snapshot.waiting:
        at = _offered(pod, provider)
        due = None if at is None else _time_over_at(pod, provider, at, fitting)
        if at is None or due is None:
            continue
        if now >= due:
            late.append((pod, at))
        else:
            rechecks.append(due)
    return late


def _offered(pod: Pod, provider: Provider) -> float | None:
    """Return when the pod could first use the provider; None if it can't, or is in other hands for now."""
    if pod.deleting is not None or pod.gated or pod.nominated or pod.shape.unmodelled or pod.node_bound:
        return None
    return pod.offered_since(provider.name) if provider.tolerated_by(pod.shape) else None


def _time_over_at(pod: Pod, provider: Provider, at: float, fitting: Fitting) -> float | None:
    since = fitting.get((pod.uid, provider.name))
    if since is not None:
        return max(at, since) + provider.timeout
    return at + provider.timeout if provider.kind.before_room and not provider.contradicts(pod.shape) else None


def _last_bound_offer(infos: Sequence[NodeInfo], pool: str, provider: str) -> float:
    """Return when the latest of the pool's pods there was offered to the provider, or created with its toleration."""
    latest = 0.0
    for pod in members_on(infos, pool):
        at = pod.offered(provider)
        latest = max(latest, pod.created if at is None else at)
    return latest
