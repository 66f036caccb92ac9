"""What a breaker goes by: the node that is tried, and what became of the pods that came there since."""

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from computepool.assess.breaker import Signs
from computepool.assess.faults import leaving
from computepool.assess.health import ProviderHealth
from computepool.assess.targets import Target
from computepool.model.snapshot import NodeUse, Pod, Snapshot
from computepool.model.state import Breaker


def signs_of(
    seen: Snapshot,
    target: Target,
    uses: Sequence[NodeUse],
    health: ProviderHealth,
    breaker: Breaker,
    unbound: int,
) -> Signs:
    """Return what is seen of a provider. `uses`: its nodes; `unbound`: how many pods it did not bind in time."""
    if breaker.closed:
        return Signs(health, target.drain, unbound, on_demand=target.on_demand)
    resource = seen.pool.spec.accelerator.resource_name
    well = [use for use in uses if use.node.name not in health.sick]
    new = [pod for pod in _pods(well, seen.pool.name) if _came(pod, target.name) >= int(breaker.since)]
    candidates = [use for use in well if use.node.usable and not leaving(use.node)]
    coming = [pod for pod in seen.waiting if _waits_for(pod, target, breaker)]
    canary = _canary(candidates, breaker, resource, coming if target.on_demand and not new else ())
    if canary is not None and not canary.free(resource):
        # A provider that is full has no place for a new pod: there those that run show that it works.
        new += _pods([canary], seen.pool.name)
    ready = any(pod.ready for pod in new)
    # Others are kept off all of its other nodes, and what fails there tells nothing of it.
    tried = {breaker.node, "" if canary is None else canary.node.name}
    refused = any(one.refused and one.at >= breaker.since and one.node in tried for one in seen.failures)
    return Signs(
        health=health,
        drained=target.drain,
        unbound=unbound,
        node="" if canary is None else canary.node.name,
        on_demand=target.on_demand,
        tried=bool(new or coming),
        ready=ready,
        failing=not ready and (refused or any(pod.failing for pod in new)),
        timeout=target.timeout,
    )


def _canary(candidates: Sequence[NodeUse], breaker: Breaker, resource: str, coming: Iterable[Pod]) -> NodeUse | None:
    """Return the node to try: the same as before while it can be, or one with much free.

    `coming`: pods that a node may have been made for, which must not be kept from them if the same has no place.
    """
    same = next((use for use in candidates if use.node.name == breaker.node), None)
    if same is None:
        return _next(candidates, breaker.failures, resource)
    stuck = next((pod for pod in coming if not _has_place(same, pod)), None)
    return same if stuck is None else next((use for use in candidates if _has_place(use, stuck)), same)


def _next(candidates: Sequence[NodeUse], failures: int, resource: str) -> NodeUse | None:
    """Return the node of the next trial: that with the most free first, and after each failure the one that follows.

    One bad node, which is empty as nothing runs there, would otherwise be tried for ever, and keep all others out.
    """
    able = [use for use in candidates if use.free(resource)] or candidates
    if not able:
        return None
    turn = max(0, failures - 1) % len(able)
    return nsmallest(turn + 1, able, key=lambda use: (-use.free(resource), use.node.name))[turn]


def _has_place(use: NodeUse, pod: Pod) -> bool:
    return pod.shape.admits(use.node.name, use.node.labels) and all(
        use.left.get(name, 0) >= amount for name, amount in pod.shape.requests
    )


def _pods(uses: Iterable[NodeUse], pool: str) -> list[Pod]:
    shares = (use.shares.get(pool) for use in uses)
    return [pod for share in shares if share is not None for pod in share.members if pod.deleting is None]


def _came(pod: Pod, provider: str) -> float:
    """Return when the pod could first go there. Creation is told to the second."""
    at = pod.offered(provider)
    return pod.created if at is None else max(pod.created, at)


def _waits_for(pod: Pod, target: Target, breaker: Breaker) -> bool:
    """Say whether the pod was sent there since the breaker changed, and waits to be bound.

    Not one that may have no place there, nor one that the scheduler does not look at.
    """
    ignored = pod.shape.unmodelled or pod.gated or pod.deleting is not None
    at = None if ignored else pod.offered(target.name)
    return at is not None and at >= breaker.since and target.tolerated_by(pod.shape)
