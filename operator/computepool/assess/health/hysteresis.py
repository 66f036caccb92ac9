"""How long a node has been in trouble: faults have to last, and so has a recovery.

- The timer of a fault runs on when the fault is seen again, or turns into another.
- A gap shorter than clearSeconds does not start it anew either; in a node that is not sick yet, the gap does not count
  towards sustainSeconds: a node that fails for a second every minute is not failing continuously.
- What is sick stays sick until nothing was wrong with it for clearSeconds.
"""

from collections.abc import Mapping

import msgspec

from computepool.assess.health.faults import Fault
from computepool.model.reasons import Reason
from computepool.model.state import NodeFault


class Times(msgspec.Struct, frozen=True):
    """The seconds that matter."""

    sustain: float
    clear: float


def node_fault_of(before: NodeFault | None, fault: Fault | None, times: Times, now: float) -> NodeFault | None:
    """Return the node's trouble now; None where it is well."""
    if before is not None and before.clear_since is not None and now >= before.clear_since + times.clear:
        before = None
    if fault is None:
        if before is None:
            return None
        return before if before.clear_since is not None else _replaced(before, clear_since=now)
    since = now if before is None else _since(before, now)
    was_sick = before is not None and before.unhealthy
    unhealthy = was_sick or fault.at_once or now >= since + times.sustain
    return NodeFault(fault.reason, fault.detail, since, unhealthy)


def due(one: NodeFault, times: Times) -> float | None:
    """Return when time alone changes what the trouble counts for."""
    if one.clear_since is not None:
        return one.clear_since + times.clear if one.unhealthy else None
    return None if one.unhealthy else one.since + times.sustain


def quarantined_before(reason: Reason, now: float) -> NodeFault:
    """Return the trouble of a node that was found in quarantine: well as soon as it has been so for clearSeconds."""
    return NodeFault(reason, "in quarantine already", since=now, unhealthy=True, clear_since=now)


def held(before: Mapping[str, NodeFault]) -> Mapping[str, NodeFault]:
    """Return what stands while nothing can be seen: the sick stay so, and every timer starts anew."""
    return {name: _replaced(one, clear_since=None) for name, one in before.items() if one.unhealthy}


def _since(before: NodeFault, now: float) -> float:
    if before.unhealthy or before.clear_since is None:
        return before.since
    return before.since + max(0.0, now - before.clear_since)


def _replaced(one: NodeFault, clear_since: float | None) -> NodeFault:
    return one if one.clear_since == clear_since else msgspec.structs.replace(one, clear_since=clear_since)
