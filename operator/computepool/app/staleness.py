"""Notices what shows in no event: that a view has become old, or current again.

Passes run when something changes. A watch that falls silent changes nothing: without this no pass would run, and the
pools would go on saying that all is in order.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

TICK_SECONDS: Final = 1.0


class StalenessMonitor:
    """Has all pools looked at when a sign of trouble appears or goes."""

    def __init__(
        self,
        *signs: Callable[[], str],
        on_turn: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Each sign says what is wrong, or nothing; `on_turn` is called when one turns, not when its words change."""
        self._signs = signs
        self._on_turn = on_turn
        self._sleep = sleep

    async def run(self) -> None:
        """Look about once a second, until cancelled. The first reading counts as a change: no pass has seen it."""
        before: list[bool] | None = None
        while True:
            now = [bool(sign()) for sign in self._signs]
            if now != before:
                before = now
                self._on_turn()
            await self._sleep(TICK_SECONDS)
