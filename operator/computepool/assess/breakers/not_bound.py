"""Which pods a standby provider did not bind in time, one after another: what its breaker counts.

A pod counts when its time at the provider is over: there was a place for it by our account all the while, or the
provider makes nodes on demand. A provider that is full has not failed. A pod that was offered before the latest pod
that the provider has bound does not count: then the pod is rather at fault. Nor does a pod that was offered before the
breaker last changed, nor a pod with constraints that fit does not model (volumes, anti-affinity, host ports): there may
be no place for it.
"""

from collections.abc import Mapping, Sequence

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.model.cluster import NodeInfo, Pod, members_on
from computepool.model.snapshot import Snapshot
from computepool.model.state import Fitting, PoolState


class NotBound(msgspec.Struct, frozen=True):
    """What standbys did not bind in time."""

    pods: Mapping[str, frozenset[str]]
    """By provider: uids; no empty sets."""
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
    """Return what each standby did not bind in time. Pods that found a place elsewhere since are included."""
    pods: dict[str, frozenset[str]] = {}
    bound: dict[str, float] = {}
    dues: list[float] = []
    memory = state.memory
    for provider in providers:
        if provider.primary:
            continue
        name = provider.name
        late = _late(snapshot, provider, memory.fitting, dues, now)
        before = memory.not_bound.get(name, frozenset())
        if not late and not before:
            continue
        known = memory.last_bound_offer.get(name, 0.0)
        latest = max(_bound(members[name], snapshot.pool.name, name), known)
        bound[name] = latest
        if latest > known:
            before = frozenset()
        oldest = max(latest, state.breaker(name).since)
        if found := before | {pod.uid for pod, at in late if at > oldest}:
            pods[name] = found
    return NotBound(pods, bound, min(dues, default=None))


def _late(
    snapshot: Snapshot, provider: Provider, fitting: Fitting, dues: list[float], now: float
) -> list[tuple[Pod, float]]:
    """Return the pods whose time is over, and when each was offered; add to `dues` when others' time will be."""
    late = []
    for pod in snapshot.waiting:
        at = _offered(pod, provider)
        due = None if at is None else _due(pod, provider, at, fitting)
        if at is None or due is None:
            continue
        if now >= due:
            late.append((pod, at))
        else:
            dues.append(due)
    return late


def _offered(pod: Pod, provider: Provider) -> float | None:
    """Return when the pod could first use the provider; None where it can't, or belongs to somebody else for now."""
    if pod.deleting is not None or pod.gated or pod.nominated or pod.shape.unmodelled:
        return None
    return pod.offered_since(provider.name) if provider.tolerated_by(pod.shape) else None


def _due(pod: Pod, provider: Provider, at: float, fitting: Fitting) -> float | None:
    since = fitting.get((pod.uid, provider.name))
    if since is not None:
        return max(at, since) + provider.timeout
    return at + provider.timeout if provider.kind.before_room and not provider.contradicts(pod.shape) else None


def _bound(infos: Sequence[NodeInfo], pool: str, provider: str) -> float:
    """Return when the latest of the pool's pods there was offered to it, or was made with its toleration."""
    latest = 0.0
    for pod in members_on(infos, pool):
        at = pod.offered(provider)
        latest = max(latest, pod.created if at is None else at)
    return latest
