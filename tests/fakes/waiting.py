"""Waiting for a condition, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str = "", *, within: float = 10.0) -> None:
    """Return as soon as the condition is truthy; AssertionError when it is not within so many seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while not condition():
        if clock() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}")
        await asyncio.sleep(0.002)
