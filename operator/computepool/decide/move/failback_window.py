"""Failback windows: a cron schedule with five fields, a time zone, and a duration."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from computepool.model.api import Window


class Opening(msgspec.Struct, frozen=True):
    """The state of a window at one moment."""

    open: bool
    recheck_at: float | None = None
    """The next opening of a closed window, in seconds since the epoch; None if it never opens."""


def opening_of(window: Window | None, now: float) -> Opening:
    """Return the state of the window. Without a window failback is always open; a window with a problem never opens."""
    if window is None:
        return Opening(True)
    if window_problem(window):
        return Opening(False)
    zone = ZoneInfo(window.time_zone)
    # Search from `now` less the duration, to find an opening that has begun and still lasts.
    earliest = datetime.fromtimestamp(now, UTC) - timedelta(seconds=window.duration_seconds)
    try:
        opens = next(CronSim(window.schedule, earliest.astimezone(zone))).timestamp()
    except StopIteration:
        return Opening(False)
    return Opening(True) if opens <= now else Opening(False, opens)


def window_problem(window: Window | None) -> str:
    """Say in a sentence why the window can never open and how to correct it; empty if it can."""
    return "" if window is None else _problem(window.schedule, window.time_zone)


@lru_cache(maxsize=256)
def _problem(schedule: str, time_zone: str) -> str:
    try:
        ZoneInfo(time_zone)
    # OSError: the name is a folder of the time zone database.
    except (KeyError, ValueError, OSError):
        return f"failback.window.timeZone {time_zone!r} is not known: use a name such as Europe/Berlin or UTC"
    try:
        next(CronSim(schedule, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return f"failback.window.schedule {schedule!r} can't be read ({error}): pods are not brought home until it can"
    except StopIteration:
        return f"failback.window.schedule {schedule!r} never comes: correct it, or pods are not brought home"
    return ""
