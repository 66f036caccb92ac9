"""Which drills have begun or ended since the last pass."""

from collections.abc import Iterable

import msgspec

from computepool.model.api import ComputePool, Drill
from computepool.model.reasons import Reason
from computepool.model.text import rfc3339


class DrillChange(msgspec.Struct, frozen=True):
    """A drill that has begun or ended."""

    reason: Reason
    provider: str
    note: str
    key: str
    """The same for every leader that tells of this change."""


class DrillChanges:
    """Remembers what was told of each pool's drills. What an earlier leader has told is told under the same key."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        # By pool, and by provider and beginning: the drills that were seen under way.
        self._under_way: dict[str, dict[tuple[str, float], Drill]] = {}
        # By pool: the ends that were told of drills whose field is still there.
        self._over: dict[str, set[tuple[str, float]]] = {}

    def news(self, pool: ComputePool, now: float) -> list[DrillChange]:
        """Return the changes since the last call. `now`: seconds since the epoch."""
        before, over = self._under_way.get(pool.name, {}), self._over.get(pool.name, set())
        there = {(spec.name, spec.drill.since.timestamp()): spec.drill for spec in pool.spec.providers if spec.drill}
        under_way = {key: drill for key, drill in there.items() if drill.lasts_at(now)}
        ended = {key: drill for key, drill in there.items() if now >= drill.until.timestamp()}
        gone = {key: drill for key, drill in before.items() if key not in under_way}
        news = [_began(key, drill) for key, drill in under_way.items() if key not in before]
        # The end of a drill that this leader has not seen may have been told by an earlier leader.
        news += [_ended(key) for key in gone.keys() | ended.keys() if key not in over]
        self._under_way[pool.name], self._over[pool.name] = under_way, set(ended)
        return sorted(news, key=lambda change: (change.provider, change.key))

    def forget(self, pool: str) -> None:
        """Drop what is remembered of a pool that is gone."""
        self._under_way.pop(pool, None)
        self._over.pop(pool, None)


def drills_under_way(pool: ComputePool, now: float) -> Iterable[tuple[str, Drill]]:
    """Yield the drills under way, by provider."""
    return ((spec.name, spec.drill) for spec in pool.spec.providers if spec.drill and spec.drill.lasts_at(now))


def _began(key: tuple[str, float], drill: Drill) -> DrillChange:
    name, since = key
    by = f" by {drill.by}" if drill.by else ""
    note = f"A drill of {name}{by} lasts until {rfc3339(drill.until)} at the latest. {Reason.DRILL_BEGAN.help}"
    return DrillChange(Reason.DRILL_BEGAN, name, note, f"drill-began-{name}-{since:.0f}")


def _ended(key: tuple[str, float]) -> DrillChange:
    name, since = key
    return DrillChange(
        Reason.DRILL_ENDED, name, f"{name}: {Reason.DRILL_ENDED.help}", f"drill-ended-{name}-{since:.0f}"
    )
