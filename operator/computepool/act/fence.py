"""Invariant 7: only the current leader writes."""

from typing import Protocol


class NotLeadingError(Exception):
    """This process does not hold the lease, or can't be sure that it still does; nothing was written."""


class Fence(Protocol):
    """Says whether this process may write now, without a call to the API server."""

    def check(self) -> None:
        """Return if it may; raise NotLeadingError if not."""
