"""Which nodes are to carry the operator's taint against new pods. No pod is ended by it."""

from collections.abc import Iterable

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.supply import Supply
from computepool.model.accelerators import accelerators_of
from computepool.model.api import BreakerState
from computepool.model.cluster import NodeUse
from computepool.model.reasons import Reason


def quarantine_of(assessment: Assessment, resource: str) -> dict[str, Reason]:
    """Return the nodes that new pods are kept off, and why.

    These are: all nodes of a provider whose breaker is open, all nodes but the tried node of a half-open provider, and
    sick nodes. Nodes that offer none of the accelerator are left out: no pod of a pool goes there, but the taint would
    also keep off the DaemonSet's pod that brings the accelerators back, on a new node or after an update, for ever.
    """
    nodes: dict[str, Reason] = {}
    for supply in assessment.supplies:
        sick = assessment.health.providers[supply.target.name].sick if supply.sick else {}
        nodes.update({name: sick[name].reason for name in supply.sick if name in sick})
        nodes.update(_of_provider(supply))
    bare = (use.node.name for supply in assessment.supplies for use in supply.nodes if not offers(use, resource))
    for name in bare if nodes else ():
        nodes.pop(name, None)
    return nodes


def offers(use: NodeUse, resource: str) -> bool:
    """Say whether any of the node's accelerators is allocatable."""
    return accelerators_of(use, resource).allocatable > 0


def _of_provider(supply: Supply) -> Iterable[tuple[str, Reason]]:
    breaker = supply.breaker
    if breaker.closed:
        return ()
    # A sick node that is tried all the same keeps its own reason: it was chosen before it fell sick.
    tried = breaker.node if breaker.state is BreakerState.HALF_OPEN else ""
    # One reason for all nodes, which does not change as their own troubles do: each change would be a write.
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    return [(use.node.name, reason) for use in supply.nodes if use.node.name != tried]
