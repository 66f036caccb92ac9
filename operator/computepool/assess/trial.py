"""What a breaker goes by: the node that is tried, and what became of the pods that came there since."""

from collections.abc import Iterable, Sequence

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
    canary = _canary(candidates, breaker.node, resource, move_on=target.on_demand and not new)
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
        tried=bool(new) or any(_waits_for(pod, target, breaker) for pod in seen.waiting),
        ready=ready,
        failing=not ready and (refused or any(pod.failing for pod in new)),
        timeout=target.timeout,
    )


def _canary(candidates: Sequence[NodeUse], before: str, resource: str, *, move_on: bool) -> NodeUse | None:
    """Return the node to try: the same as before while it can be, or that with the most free.

    `move_on`: another is tried if it has more free. A node that was made for the first pod must not be kept from it.
    """
    same = next((use for use in candidates if use.node.name == before), None)
    most = min(candidates, key=lambda use: (-use.free(resource), use.node.name), default=None)
    if same is None or most is None:
        return most
    return most if move_on and most.free(resource) > same.free(resource) else same


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
