"""When a failback window is open: a schedule in cron's five fields, in a time zone, and for how long it stays open.

Pure: the moment is given, and the rules of time zones are data.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from computepool.model.api import Window


class Opening(msgspec.Struct, frozen=True):
    """A window as it is at one moment."""

    open: bool
    again: float | None = None
    """When it opens next, if it is closed; None: never."""


def opening_of(window: Window | None, now: float) -> Opening:
    """Return whether the window is open, at any time where there is none; one with a problem never is."""
    if window is None:
        return Opening(True)
    if window_problem(window):
        return Opening(False)
    zone = ZoneInfo(window.time_zone)
    # The first opening after this one could be at the earliest; one that lasts still is found by it.
    earliest = datetime.fromtimestamp(now, UTC) - timedelta(seconds=window.duration_seconds)
    try:
        opens = next(CronSim(window.schedule, earliest.astimezone(zone))).timestamp()
    except StopIteration:
        return Opening(False)
    return Opening(True) if opens <= now else Opening(False, opens)


def window_problem(window: Window | None) -> str:
    """Say in a sentence why the window can never open, for a person to correct it; empty where it can."""
    return "" if window is None else _problem(window.schedule, window.time_zone)


@lru_cache(maxsize=256)
def _problem(schedule: str, time_zone: str) -> str:
    try:
        ZoneInfo(time_zone)
    # A folder of the time zone database is as little a zone as a name that is not there.
    except (KeyError, ValueError, OSError):
        return f"failback.window.timeZone {time_zone!r} is not known: use a name such as Europe/Berlin or UTC"
    never = f"failback.window.schedule {schedule!r} never comes: correct it, or pods are not brought home"
    try:
        next(CronSim(schedule, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"failback.window.schedule {schedule!r} can't be read ({error}): pods are not brought home until it can"
    except StopIteration:
        return never
    return ""
