"""What `explain` knows of the earlier moves of a pod's owner.

The decision here is that of a new leader. A new leader does not know how moves have ended, and waits as if each had
come to nothing. The leader that runs knows it, and its record in the pool's status tells as much.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from computepool.decide.move.owned_pods import namespace_key
from computepool.decide.move.owner_history import delay_after
from computepool.decide.plan import BlockedMove
from computepool.model.reasons import Reason
from computepool.model.state import UnsettledMove


def as_the_leader_knows(blocked: BlockedMove, unsettled: Mapping[str, UnsettledMove]) -> BlockedMove:
    """Return why a pod stays by the record of its owner's moves. `unsettled`: by owner and namespace."""
    if blocked.reason is not Reason.MOVE_FAILED:
        return blocked
    keys = (blocked.pod.owner, namespace_key(blocked.pod))
    failed = [move for key in keys if (move := unsettled.get(key)) is not None and move.times]
    if not failed:
        return replace(blocked, reason=Reason.AWAITS_REPLACEMENT, until=None)
    constrained = bool(blocked.pod.shape.unmodelled)
    # The record has the time at which the move began. It came to nothing later, so the pod stays for longer than this.
    return replace(blocked, until=max(move.at + delay_after(move.times, constrained=constrained) for move in failed))
