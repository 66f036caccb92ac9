"""Which nodes are to carry the operator's taint against new pods. Nothing is killed by it."""

from collections.abc import Iterable

from computepool.assess.assessment import Assessment
from computepool.assess.supply import Supply
from computepool.model.api import BreakerState
from computepool.model.reasons import Reason


def quarantine_of(assessment: Assessment) -> dict[str, Reason]:
    """Return the nodes to be kept off, and why: all of providers whose breaker is open, all but the one that is tried
    of half-open ones, and sick ones."""
    nodes: dict[str, Reason] = {}
    for supply in assessment.supplies:
        sick = assessment.health.providers[supply.target.name].sick if supply.sick else {}
        nodes.update({name: sick[name].reason for name in supply.sick if name in sick})
        nodes.update(_of_provider(supply))
    return nodes


def _of_provider(supply: Supply) -> Iterable[tuple[str, Reason]]:
    breaker = supply.breaker
    if breaker.closed:
        return ()
    # A sick node that is tried all the same keeps its own reason: it was chosen before it fell sick.
    tried = breaker.node if breaker.state is BreakerState.HALF_OPEN else ""
    # One reason for all of them, which does not change as their own troubles do: each change would be a write.
    reason = breaker.reason or Reason.PROVIDER_UNAVAILABLE
    return [(use.node.name, reason) for use in supply.nodes if use.node.name != tried]
