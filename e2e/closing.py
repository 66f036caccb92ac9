"""A collection of resources that are closed at the end of a `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """A context manager that gives itself, and calls `close` in the end."""

    @abstractmethod
    def close(self) -> None:
        """End what was begun."""

    def __enter__(self) -> Self:
        """Use it within a `with` block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it, whether the block succeeded or not."""
        self.close()
