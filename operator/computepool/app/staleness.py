"""Notices what shows in no event: that a view has become old, or current again.

Passes run when something changes. A watch that falls silent changes nothing: without this no pass would run, and the
pools would go on saying that all is in order.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from computepool.app.view import View

TICK_SECONDS: Final = 1.0


class StalenessMonitor:
    """Has all pools looked at when something begins or ceases to be wrong with the view."""

    def __init__(
        self,
        view: View,
        *,
        on_change: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`on_change` is called when trouble begins or ends, not when its words change."""
        self._view = view
        self._on_change = on_change
        self._sleep = sleep

    async def run(self) -> None:
        """Look about once a second, until cancelled. The first reading counts as a change: no pass has seen it."""
        before: tuple[bool, ...] | None = None
        while True:
            texts = self._view.stale(), self._view.unreadable(), self._view.unfollowed()
            now = tuple(bool(text) for text in texts)
            if now != before:
                before = now
                self._on_change()
            await self._sleep(TICK_SECONDS)
