"""Invariant 7: only the current leader writes."""

from dataclasses import dataclass
from typing import Protocol

from computepool.kube.client import ApiClient
from computepool.kube.runtime import Runtime


class NotLeadingError(Exception):
    """This process does not hold the lease, or can't be sure that it still does; nothing was written."""


class Fence(Protocol):
    """Says, without asking the API server, whether this process may write now."""

    def check(self) -> None:
        """Return if it may; raise NotLeadingError if not."""


@dataclass(frozen=True, slots=True)
class WriteAccess:
    """What every writer needs."""

    client: ApiClient
    fence: Fence
    runtime: Runtime
