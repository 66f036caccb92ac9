"""Moments as people read them, whatever the numbers that they come from."""

from datetime import UTC, datetime
from typing import Final

LAST: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
"""Nothing later has a date; a status that was written by hand may lead there."""


def moment(at: float) -> datetime:
    """Return seconds since the epoch as a date, the nearest that there is."""
    return datetime.fromtimestamp(min(max(at, 0.0), LAST), UTC)
