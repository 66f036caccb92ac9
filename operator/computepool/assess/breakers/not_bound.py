"""Which pods a standby provider did not bind in time: they hold off pods like them, and many open the breaker.

A pod is late when its time at the provider is over, if by our account it had a place there all the while, or if the
provider makes nodes on demand. A full provider has not failed. These pods are never late:
- a pod in other hands: gated, nominated, terminating, or of a scheduler that is absent;
- a pod that its scheduler has not judged unschedulable: the scheduler may be down, or may have many pods to try;
- a pod that a single node can take: that node may be full;
- a pod with constraints that fit does not model (volumes, anti-affinity, host ports): it may have no place there.

A late pod holds off pods of its shape, or of its workload (`hold_offs.py`). It counts against the provider's breaker
only if it tells of more than itself. Not counted are:
- a pod that was offered before the latest pod that the provider has bound: then the pod itself is probably at fault;
- a pod that was offered before the breaker last changed;
- a pod that had no place, while the provider has free accelerators: the provider is good for other pods;
- a pod of another scheduler than Kubernetes' own, which may wait for a queue, a quota or a gang.

The breaker counts workloads and shapes, whichever are fewer. A hundred pods of one workload tell of this workload. A
hundred workloads of one shape tell of this shape, and the hold-off of the shape keeps all of them away.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.assess.health.pool_health import Health
from computepool.assess.members import Members
from computepool.model.accelerators import accelerators_of
from computepool.model.cluster import NodeInfo, Pod, Shape, members_on
from computepool.model.snapshot import Snapshot
from computepool.model.state import Fitting, PoolState

MOST: Final = 1_000
"""Limit for the pairs of workload and shape that are kept of a provider: more than any breaker asks for."""

Late = tuple[Pod, float]
"""A pod that was not bound in time, and when the provider was offered to it."""


@lru_cache(maxsize=4096)
def digest_of(shape: Shape) -> str:
    """Return a short name of a shape, without its tolerations: the same before and after a pod is sent, and in the next
    process.
    """
    bare = msgspec.structs.replace(shape, tolerations=())
    return blake2b(repr(bare).encode(), digest_size=8).hexdigest()


class NotBound(msgspec.Struct, frozen=True):
    """The pods that standbys did not bind in time."""

    late: Mapping[str, tuple[Late, ...]]
    """By provider: the pods that wait too long there now. Only providers with such pods are in it."""
    counted: Mapping[str, frozenset[tuple[str, str]]]
    """By provider: the workloads, and digests of the shapes, of pods that count against its breaker, also of pods that
    found a place elsewhere since. Only providers with such pods are in it."""
    last_bound_offer: Mapping[str, float]
    """By provider: when the latest pod that it has bound was offered to it."""
    recheck_at: float | None
    """When the next pod's time is over."""
    placed: frozenset[tuple[str, str]] = frozenset()
    """Uid and provider of each late pod that had a place there, which its scheduler did not use."""

    def workloads(self, provider: str, shape: Shape) -> int:
        """Return how many workloads with pods of the shape count against the provider."""
        pairs = self.counted.get(provider)
        if not pairs:
            return 0
        digest = digest_of(shape)
        return sum(1 for _, counted in pairs if counted == digest)

    def against(self, provider: str) -> int:
        """Return how many workloads and as many shapes count against the provider."""
        pairs = self.counted.get(provider, frozenset())
        return min(len({workload for workload, _ in pairs}), len({shape for _, shape in pairs}))


def not_bound_in_time(
    snapshot: Snapshot, providers: Sequence[Provider], members: Members, health: Health, state: PoolState, now: float
) -> NotBound:
    """Return the pods that each standby did not bind in time."""
    late_by_provider: dict[str, tuple[Late, ...]] = {}
    counted: dict[str, frozenset[tuple[str, str]]] = {}
    bound: dict[str, float] = {}
    rechecks: list[float] = []
    memory = state.memory
    resource = snapshot.pool.spec.accelerator.resource_name
    for provider in providers:
        if provider.primary:
            continue
        name = provider.name
        late = _late(snapshot, provider, memory.fitting, rechecks, now)
        before = memory.not_bound.get(name, frozenset())
        if not late and not before:
            continue
        if late:
            late_by_provider[name] = late
        known = memory.last_bound_offer.get(name, 0.0)
        latest = max(_last_bound_offer(members[name], snapshot.pool.name, name), known)
        bound[name] = latest
        if latest > known:
            before = frozenset()
        oldest = max(latest, state.breaker(name).since)
        free = _has_free(members[name], health.providers[name].unhealthy, resource)
        telling = (
            pod
            for pod, at in late
            if at > oldest and not pod.shape.scheduler and (not free or (pod.uid, name) in memory.fitting)
        )
        if found := _with(before, telling):
            counted[name] = found
    held = frozenset((pod.uid, name) for name, late in late_by_provider.items() for pod, _ in late)
    return NotBound(late_by_provider, counted, bound, min(rechecks, default=None), held & memory.fitting.keys())


def _with(before: frozenset[tuple[str, str]], pods: Iterable[Pod]) -> frozenset[tuple[str, str]]:
    if len(before) >= MOST:
        return before
    # A bare pod has no owner, and stands for itself.
    return before.union((pod.owner or pod.uid, digest_of(pod.shape)) for pod in pods)


def _late(
    snapshot: Snapshot, provider: Provider, fitting: Fitting, rechecks: list[float], now: float
) -> tuple[Late, ...]:
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
    return tuple(late)


def _offered(pod: Pod, provider: Provider) -> float | None:
    """Return when the pod could first use the provider; None if it can't, or is in other hands for now."""
    in_other_hands = pod.deleting is not None or pod.gated or pod.nominated or not pod.unschedulable
    if in_other_hands or pod.shape.unmodelled or pod.node_bound:
        return None
    return pod.offered_since(provider.name) if provider.tolerated_by(pod.shape) else None


def _time_over_at(pod: Pod, provider: Provider, at: float, fitting: Fitting) -> float | None:
    since = fitting.get((pod.uid, provider.name))
    if since is not None:
        return max(at, since) + provider.timeout
    return at + provider.timeout if provider.kind.before_room and not provider.contradicts(pod.shape) else None


def _has_free(infos: Sequence[NodeInfo], unhealthy: Collection[str], resource: str) -> bool:
    """Say whether a healthy node that takes pods has a free accelerator."""
    return any(
        info.node.usable and info.node.name not in unhealthy and accelerators_of(info, resource).free for info in infos
    )


def _last_bound_offer(infos: Sequence[NodeInfo], pool: str, provider: str) -> float:
    """Return when the latest of the pool's pods there was offered to the provider, or created with its toleration."""
    latest = 0.0
    for pod in members_on(infos, pool):
        at = pod.offered(provider)
        latest = max(latest, pod.created if at is None else at)
    return latest
