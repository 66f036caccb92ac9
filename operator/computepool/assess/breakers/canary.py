"""The canary of a half-open breaker: the node that is tried, and what became of the pods that came there since."""

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from computepool.assess.breakers.breaker import BreakerInput
from computepool.assess.capacity.providers import Provider
from computepool.assess.health.faults import avoided
from computepool.assess.health.providers import ProviderHealth
from computepool.model.accelerators import accelerators_of
from computepool.model.cluster import NodeInfo, Pod, Shape, members_on
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker


def breaker_input(
    snapshot: Snapshot,
    provider: Provider,
    infos: Sequence[NodeInfo],
    health: ProviderHealth,
    breaker: Breaker,
    not_bound: int,
    drilled_since: float | None = None,
) -> BreakerInput:
    """Return what a provider's breaker depends on.

    `infos`: the provider's nodes; `not_bound`: how many workloads and shapes it did not bind in time; `drilled_since`:
    as in `BreakerInput`.
    """
    if breaker.closed:
        return BreakerInput(health, provider.drain, not_bound, makes_nodes=provider.kind.before_room)
    resource = snapshot.pool.spec.accelerator.resource_name
    healthy = [info for info in infos if info.node.name not in health.unhealthy]
    new = [pod for pod in _staying(healthy, snapshot.pool.name) if came_at(pod, provider.name) >= int(breaker.since)]
    candidates = [info for info in healthy if info.node.usable and not avoided(info.node)]
    coming = [pod for pod in snapshot.waiting if _waits_for(pod, provider, breaker)]
    canary = _canary(candidates, breaker, resource, coming if provider.kind.before_room and not new else ())
    if canary is not None and not accelerators_of(canary, resource).free:
        # A full node has no place for a new pod: there the running pods show that it works.
        new += _staying([canary], snapshot.pool.name)
    any_ready = any(pod.ready for pod in new)
    # New pods are kept off all other nodes of the provider, so a failure there says nothing about it.
    tried = {breaker.node, "" if canary is None else canary.node.name}
    refused = any(
        failure.refused and failure.at >= breaker.since and failure.node in tried for failure in snapshot.failures
    )
    return BreakerInput(
        health=health,
        drained=provider.drain,
        drilled_since=drilled_since,
        not_bound=not_bound,
        node="" if canary is None else canary.node.name,
        free=any(accelerators_of(info, resource).free for info in candidates),
        makes_nodes=provider.kind.before_room,
        tried=bool(new or coming),
        ready=any_ready and not health.unproven,
        failing=not any_ready and (refused or any(pod.failing for pod in new)),
        timeout=provider.timeout,
    )


def came_at(pod: Pod, provider: str) -> float:
    """Return when the pod could first go to the provider, in seconds since the epoch. Creation has whole seconds."""
    at = pod.offered(provider)
    return pod.created if at is None else max(pod.created, at)


def canary_runs(infos: Iterable[NodeInfo], pool: str, provider: str, breaker: Breaker) -> bool:
    """Say whether a pod of the pool came to these nodes since the breaker is half-open: this pod is the canary."""
    return any(came_at(pod, provider) >= int(breaker.since) for pod in _staying(infos, pool))


def _canary(candidates: Sequence[NodeInfo], breaker: Breaker, resource: str, coming: Iterable[Pod]) -> NodeInfo | None:
    """Return the node to try: the same node as before if possible, otherwise a node with much free.

    `coming`: pods that a new node may have been made for. If the same node has no place for them, that node is tried.
    """
    same = next((info for info in candidates if info.node.name == breaker.node), None)
    if same is None:
        return _next_node(candidates, breaker.failures, resource)
    stuck = next((pod.shape for pod in coming if not has_place(same, pod.shape)), None)
    return same if stuck is None else next((info for info in candidates if has_place(info, stuck)), same)


def _next_node(candidates: Sequence[NodeInfo], failures: int, resource: str) -> NodeInfo | None:
    """Return the node of the next trial: the emptiest node first, and after each failure the next emptiest.

    Otherwise a bad node, which is empty because no pod runs there, would be tried for ever.
    """
    free = {info.node.name: accelerators_of(info, resource).free for info in candidates}
    with_room = [info for info in candidates if free[info.node.name]] or candidates
    if not with_room:
        return None
    turn = max(0, failures - 1) % len(with_room)
    return nsmallest(turn + 1, with_room, key=lambda info: (-free[info.node.name], info.node.name))[turn]


def has_place(info: NodeInfo, shape: Shape) -> bool:
    """Say whether a pod of the shape fits into what is left of the node, tolerations aside."""
    return shape.admits(info.node.name, info.node.labels) and all(
        info.left.get(name, 0) >= amount for name, amount in shape.requests
    )


def _staying(infos: Iterable[NodeInfo], pool: str) -> list[Pod]:
    return [pod for pod in members_on(infos, pool) if pod.deleting is None]


def _waits_for(pod: Pod, provider: Provider, breaker: Breaker) -> bool:
    """Say whether the pod was sent there since the breaker changed, and waits to be bound.

    Two kinds of pods do not count: pods that may have no place there, and pods that the scheduler leaves aside.
    """
    if pod.shape.unmodelled or pod.gated or pod.deleting is not None:
        return False
    at = pod.offered(provider.name)
    return at is not None and at >= breaker.since and provider.tolerated_by(pod.shape)
