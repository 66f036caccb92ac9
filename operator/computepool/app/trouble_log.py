"""Log lines about an operator that can't do its work: when that begins, while it lasts, and when it is over."""

import logging
from collections.abc import Callable
from typing import Final

from computepool.report.logs import log

PATIENCE_SECONDS: Final = 5.0
"""Trouble that passes sooner is not told: at the start, lists take a moment."""
REPEAT_SECONDS: Final = 300.0
"""The same trouble is told again after this time, for readers of the log's end."""
CHANGE_SECONDS: Final = 30.0
"""Other trouble is told after this time at the soonest, so that two that take turns do not fill the log."""
_logger = logging.getLogger("computepool")


class TroubleLog:
    """Tells one trouble at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._clock = clock
        self._since: float | None = None
        self._told = ""
        self._told_at = 0.0

    def note(self, trouble: str) -> None:
        """Take in what is wrong now, and what to do; empty if nothing is. Call this about once a second."""
        now = self._clock()
        if not trouble:
            if self._told:
                log(_logger, logging.INFO, "trouble is over", trouble=self._told)
            self._since, self._told = None, ""
            return
        self._since = now if self._since is None else self._since
        wait = PATIENCE_SECONDS - (now - self._since)
        if self._told:
            wait = (REPEAT_SECONDS if trouble == self._told else CHANGE_SECONDS) - (now - self._told_at)
        if wait <= 0:
            log(_logger, logging.ERROR, "trouble", trouble=trouble)
            self._told, self._told_at = trouble, now
