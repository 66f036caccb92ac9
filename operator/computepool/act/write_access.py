"""Invariant 7: only the current leader writes."""

from dataclasses import dataclass
from typing import Protocol

from computepool.kube.client import ApiClient
from computepool.kube.runtime import Runtime


class NotLeadingError(Exception):
    """This process does not hold the Lease, or can't be sure of it; nothing was written."""


class Fence(Protocol):
    """Says, without asking the API server, whether this process may write now."""

    def check(self) -> None:
        """Raise NotLeadingError unless this process may write now."""


@dataclass(frozen=True, slots=True)
class WriteAccess:
    """The client, fence and runtime that every writer needs."""

    client: ApiClient
    fence: Fence
    runtime: Runtime
