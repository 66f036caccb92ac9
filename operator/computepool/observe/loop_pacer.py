"""Shares the event loop: long decoding work is done in short slices."""

from __future__ import annotations

import asyncio
import time


class Pacer:
    """Says when the current slice of work is used up, and gives other tasks of the loop a turn.

    Asking costs a clock reading (about 50 ns), so it is asked after every object.
    """

    def __init__(self, slice_seconds: float) -> None:
        """`slice_seconds` is the longest stretch of work without a turn for other tasks."""
        self._slice = slice_seconds
        self._since = time.perf_counter()

    def due(self) -> bool:
        """Say whether the slice is used up."""
        return time.perf_counter() - self._since > self._slice

    async def rest(self) -> None:
        """Let the loop run all other tasks that are ready, then start a new slice."""
        await asyncio.sleep(0)
        self._since = time.perf_counter()
