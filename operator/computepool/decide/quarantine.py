"""Which nodes are to carry the operator's taint against new pods. Nothing is killed by it."""

from collections.abc import Iterable

from computepool.assess.assessment import Assessment
from computepool.assess.supply import Supply
from computepool.model.api import BreakerState
from computepool.model.reasons import Reason
from computepool.model.snapshot import Node


def quarantine_of(assessment: Assessment, resource: str) -> dict[str, Reason]:
    """Return the nodes to be kept off, and why: all of providers whose breaker is open, all but the one that is tried
    of half-open ones, and sick ones.

    Nodes that offer none of the accelerator are left out: no pod of a pool goes there, but the taint would also keep
    off the DaemonSet's pod that brings the accelerators back, on a new node or after an update, and so for ever.
    """
    nodes: dict[str, Reason] = {}
    for supply in assessment.supplies:
        sick = assessment.health.providers[supply.target.name].sick if supply.sick else {}
        nodes.update({name: sick[name].reason for name in supply.sick if name in sick})
        nodes.update(_of_provider(supply))
    bare = (use.node.name for supply in assessment.supplies for use in supply.nodes if not offers(use.node, resource))
    for name in bare if nodes else ():
        nodes.pop(name, None)
    return nodes


def offers(node: Node, resource: str) -> bool:
    """Say whether the node has any of the accelerator to give."""
    return bool(node.allocatable.get(resource))


def _of_provider(supply: Supply) -> Iterable[tuple[str, Reason]]:
    breaker = supply.breaker
    if breaker.closed:
        return ()
    # A sick node that is tried all the same keeps its own reason: it was chosen before it fell sick.
    tried = breaker.node if breaker.state is BreakerState.HALF_OPEN else ""
    # One reason for all of them, which does not change as their own troubles do: each change would be a write.
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    return [(use.node.name, reason) for use in supply.nodes if use.node.name != tried]
