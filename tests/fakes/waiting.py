"""Waiting for a condition, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which a test gives up on what has to happen: many more than a busy machine needs."""


async def until(condition: Callable[[], object], what: str = "", *, within: float = PATIENCE) -> None:
    """Return as soon as the condition is truthy; AssertionError when it is not within so many seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while not condition():
        if clock() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}")
        await asyncio.sleep(0.002)
