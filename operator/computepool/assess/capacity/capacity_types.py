"""The kinds of capacity that a provider can have. A new kind is a new value here; no other file compares kinds."""

from typing import Final

import msgspec

from computepool.model.api import CapacityType


class CapacityKind(msgspec.Struct, frozen=True):
    """The operator's three questions about a kind of capacity, with their answers."""

    before_room: bool
    """May a pod be sent before there is room? Then lack of room rejects no pod, and full nodes are no pressure."""
    room_is_made_by: str
    """How is room made? Words for people, after a provider's name; empty if room only comes when pods leave."""

    def seconds_for_room(self, pending_seconds: float, timeout: float) -> float:
        """How long is a pod given to find room there, before it may go elsewhere?

        `pending_seconds`: the pool's saturation.pendingSeconds; `timeout`: the provider's provisionTimeoutSeconds.
        """
        return max(pending_seconds, timeout) if self.before_room else pending_seconds


STANDING: Final = CapacityKind(before_room=False, room_is_made_by="")
ON_DEMAND: Final = CapacityKind(before_room=True, room_is_made_by="makes nodes on demand")

KINDS: Final = {CapacityType.STANDING: STANDING, CapacityType.ON_DEMAND: ON_DEMAND}
