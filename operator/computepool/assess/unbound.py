"""Which pods a standby provider did not bind in time, one after another: what its breaker counts.

A pod counts when its time at the provider is over: there was a place for it by our account all the while, or the
provider makes nodes on demand. A provider that is full has not failed. What was offered before the latest pod that it
has bound does not count: then rather the pod is at fault. Nor does what was offered before its breaker last changed,
nor a pod with constraints that fit does not model (volumes, anti-affinity, host ports): there may be no place for it.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from computepool.assess.targets import Target
from computepool.model.snapshot import NodeUse, Pod, Snapshot
from computepool.model.state import Breaker, Fitting, PoolState


class Unbound(msgspec.Struct, frozen=True):
    """What standbys did not bind in time."""

    pods: Mapping[str, frozenset[str]]
    """By provider: uids; no empty sets."""
    bound: Mapping[str, float]
    """By provider: when the latest pod that it has bound was offered to it."""
    look_again: float | None
    """When the next pod's time is over."""


def unbound_of(
    seen: Snapshot, targets: Sequence[Target], members: Mapping[str, Sequence[NodeUse]], state: PoolState, now: float
) -> Unbound:
    """Return what each standby did not bind in time, pods that found a place elsewhere since included."""
    pods: dict[str, frozenset[str]] = {}
    bound: dict[str, float] = {}
    dues: list[float] = []
    for target in targets:
        if target.primary:
            continue
        name = target.name
        late = _late(seen, target, state.fitting, dues, now)
        before = state.unbound.get(name, frozenset())
        if not late and not before:
            continue
        latest = max(_bound(members[name], seen.pool.name, name), state.bound.get(name, 0.0))
        bound[name] = latest
        if latest > state.bound.get(name, 0.0):
            before = frozenset()
        oldest = max(latest, state.breakers.get(name, Breaker()).since)
        if found := before | {pod.uid for pod, at in late if at > oldest}:
            pods[name] = found
    return Unbound(pods, bound, min(dues, default=None))


def _late(seen: Snapshot, target: Target, fitting: Fitting, dues: list[float], now: float) -> list[tuple[Pod, float]]:
    """Return the pods whose time is over, and when each was offered; add to `dues` when others' time will be."""
    late = []
    for pod in seen.waiting:
        at = _offered(pod, target)
        due = None if at is None else _due(pod, target, at, fitting)
        if at is None or due is None:
            continue
        if now >= due:
            late.append((pod, at))
        else:
            dues.append(due)
    return late


def _offered(pod: Pod, target: Target) -> float | None:
    """Return when the pod could first use the provider; None where it can't, or is somebody else's for now."""
    if pod.deleting is not None or pod.gated or pod.nominated or pod.shape.unmodelled:
        return None
    if not target.tolerated_by(pod.shape):
        return None
    at = pod.offered(target.name)
    return pod.since if at is None else at


def _due(pod: Pod, target: Target, at: float, fitting: Fitting) -> float | None:
    since = fitting.get((pod.uid, target.name))
    if since is not None:
        return max(at, since) + target.timeout
    return at + target.timeout if target.on_demand and not target.contradicts(pod.shape) else None


def _bound(uses: Iterable[NodeUse], pool: str, provider: str) -> float:
    """Return when the latest of the pool's pods that are bound there was offered to it, or made with its toleration."""
    latest = 0.0
    for use in uses:
        share = use.shares.get(pool)
        for pod in share.members if share is not None else ():
            at = pod.offered(provider)
            latest = max(latest, pod.created if at is None else at)
    return latest
