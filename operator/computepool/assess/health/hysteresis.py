"""How long a node's fault has lasted: a fault counts only after it has lasted, and so does a recovery.

- The timer of a fault goes on when the fault is seen again, or turns into another fault.
- A gap shorter than clearSeconds does not restart the timer. Before the node counts as unhealthy, the gap does not
  count towards sustainSeconds: a node that fails for a second every minute does not fail continuously.
- An unhealthy node stays unhealthy until it had no fault for clearSeconds.

Two kinds of faults may pass by themselves while pods run well on the node: nothing is heard of the node, or its
accelerators are gone. Such a fault keeps new pods off as early as any other, and is confirmed later. Its longer wait is
counted without gaps: any sign of the contrary starts it anew.

A fault that the node itself reports is confirmed after sustainSeconds. Gaps are treated as above, but only faults of
this kind count, and a confirmed fault that turns into this kind. So a doubt leaves the node unhealthy, and pods that
run well stay until the next fault has lasted itself. After a restart or a freeze, each of these waits starts anew.
"""

from collections.abc import Mapping
from math import inf

import msgspec

from computepool.assess.health.faults import DARK_FAULTS, DEVICE_FAULTS, PROVEN_FAULTS, Fault
from computepool.model.reasons import Reason
from computepool.model.state import NodeFault


class Times(msgspec.Struct, frozen=True):
    """How long a fault and a recovery have to last, in seconds."""

    sustain: float
    clear: float
    silence: float
    """Until a fault of `DARK_FAULTS` is confirmed."""
    device_gone: float
    """Until a fault of `DEVICE_FAULTS` is confirmed."""


def node_fault_of(before: NodeFault | None, fault: Fault | None, times: Times, now: float) -> NodeFault | None:
    """Return the node's fault as it counts now; None for a healthy node. `fault`: the fault that is seen now."""
    if before is not None and before.clear_since is not None and now >= before.clear_since + times.clear:
        before = None
    if fault is None:
        if before is None:
            return None
        return before if before.clear_since is not None else msgspec.structs.replace(before, clear_since=now)
    since = now if before is None else _since(before, now)
    was_unhealthy = before is not None and before.unhealthy
    unhealthy = was_unhealthy or fault.at_once or now >= since + times.sustain
    run_since = _run_since(before, fault, now)
    confirm_at = _confirm_at(fault, run_since, times)
    return NodeFault(
        fault.reason,
        fault.detail,
        since,
        unhealthy,
        confirm_at=confirm_at if confirm_at is not None and now < confirm_at else None,
        run_since=run_since,
    )


def recheck_at(fault: NodeFault, times: Times) -> float | None:
    """Return when time alone changes what the fault counts for."""
    if fault.clear_since is not None:
        return fault.clear_since + times.clear if fault.unhealthy else None
    if not fault.unhealthy:
        return fault.since + times.sustain
    return None if fault.confirm_at == inf else fault.confirm_at


def quarantined_before(reason: Reason, now: float) -> NodeFault:
    """Return the fault of a node that was found in quarantine: the node is healthy after clearSeconds without one."""
    return NodeFault(reason, "in quarantine already", since=now, unhealthy=True, clear_since=now)


def frozen_faults(before: Mapping[str, NodeFault]) -> Mapping[str, NodeFault]:
    """Return the faults that stand while nothing can be seen: unhealthy nodes stay so, and every timer starts anew."""
    return {
        name: msgspec.structs.replace(fault, clear_since=None, run_since=None)
        for name, fault in before.items()
        if fault.unhealthy
    }


def _since(before: NodeFault, now: float) -> float:
    if before.unhealthy or before.clear_since is None:
        return before.since
    return before.since + max(0.0, now - before.clear_since)


def _run_since(before: NodeFault | None, fault: Fault, now: float) -> float | None:
    """Return since when faults of the same kind last; None for a fault whose length confirms nothing."""
    if fault.reason in DEVICE_FAULTS:
        goes_on = before is not None and before.present and before.reason in DEVICE_FAULTS
        return before.run_since if before is not None and goes_on and before.run_since is not None else now
    if fault.reason not in PROVEN_FAULTS:
        return fault.dark_since
    if before is None or before.run_since is None:
        return now
    if before.reason not in PROVEN_FAULTS:
        # A node that is proven to fail goes on to fail. A doubt proves nothing.
        return before.run_since if before.present and before.confirmed else now
    gap = 0.0 if before.clear_since is None or before.confirmed else max(0.0, now - before.clear_since)
    return before.run_since + gap


def _confirm_at(fault: Fault, run_since: float | None, times: Times) -> float | None:
    """Return when the fault is confirmed if it lasts; None for a fault that needs no confirmation, infinite for a fault
    that time does not confirm.
    """
    if fault.doubtful:
        return inf
    if run_since is None:
        return None
    if fault.reason in DARK_FAULTS:
        return run_since + times.silence
    return run_since + (times.device_gone if fault.reason in DEVICE_FAULTS else times.sustain)
