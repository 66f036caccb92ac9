"""Sharing the event loop: long decoding work in short slices."""

from __future__ import annotations

import asyncio
import time


class Pacer:
    """Says when the current slice of work is used up, and lets the others of the loop have a turn.

    Asking costs a clock reading (about 50 ns), so it is asked after every object.
    """

    def __init__(self, slice_seconds: float) -> None:
        """`slice_seconds` is the longest stretch of work without a turn for others."""
        self._slice = slice_seconds
        self._since = time.perf_counter()

    def due(self) -> bool:
        """Whether the slice is used up."""
        return time.perf_counter() - self._since > self._slice

    async def rest(self) -> None:
        """Let the loop run everything else that is ready, then start a new slice."""
        await asyncio.sleep(0)
        self._since = time.perf_counter()
