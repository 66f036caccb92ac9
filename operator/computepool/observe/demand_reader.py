"""Reads the demand of the minutes before this process led from the source of metrics: then a forecast is known at once.

The operator exports the demand of each pool that wants a forecast. If the source scrapes the operator, it has the
demand of the process that led before. Each pool is asked for once. After an error, or an answer without a series, it is
asked for again until this process has seen a whole window itself. No pass waits for an answer.
"""

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from typing import Final, Protocol

from computepool.kube.retry import Backoff
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool, ForecastMode
from computepool.model.demand import MINUTE, Points
from computepool.model.quantity import MILLI
from computepool.observe.repeated_query import RepeatedQuery, look_until_cancelled
from computepool.prometheus.answers import Series
from computepool.prometheus.errors import GarbledError, SourceError
from computepool.prometheus.promql import NO_LABELS, Names, rendered
from computepool.prometheus.query_rules import QueryError
from computepool.prometheus.ranges import SeriesOverTime

RETRY_SECONDS: Final = 5.0
RETRY_CAP_SECONDS: Final = 60.0
MARGIN_MINUTES: Final = 2
"""Minutes that are asked for beyond the window: its start moves on while the answer comes."""
QUERY: Final = 'max(computepool_demand_accelerators{pool="$pool"})'
"""Of several processes only the leader exports a demand. Where two do for a moment, the larger demand counts."""
NOW: Final = "vector(time())"
LARGEST: Final = 1e7


class AsksRanges(Protocol):
    """Answers queries: `prometheus.client.PrometheusClient`."""

    async def query(self, query: str) -> tuple[Series, ...]:
        """Return the vector; raises only SourceError."""

    async def query_range(self, query: str, start: float, end: float, step: float) -> tuple[SeriesOverTime, ...]:
        """Return the values at each step; raises only SourceError."""


class Pools(Protocol):
    """What the reader needs of the store."""

    @property
    def pools(self) -> Mapping[str, ComputePool]:
        """The pools by name."""

    def put_past_demand(self, pool: str, past: Points, at: float) -> None:
        """Take what is known of a pool's demand before. `at`: by the monotonic clock."""


class _Asked(RepeatedQuery):
    """A pool over time."""

    def __init__(self, until: float, backoff: Backoff) -> None:
        super().__init__(backoff)
        self.until = until
        """When this process has seen a whole window itself, by the monotonic clock."""


class DemandReader:
    """Asks for the past demand of the pools that want a forecast."""

    def __init__(
        self,
        source: AsksRanges | None,
        pools: Pools,
        runtime: Runtime,
        *,
        enforced: Mapping[str, str] = NO_LABELS,
        on_failure: Callable[[str, Exception], None] = lambda _message, _error: None,
    ) -> None:
        """`source`: None if the operator has none. `enforced`: labels that are put on the query. `on_failure` gets what
        has failed, and the unexpected error.
        """
        self._source = source
        self._pools = pools
        self._runtime = runtime
        self._enforced = enforced
        self._on_failure = on_failure
        # By uid of a pool and its window.
        self._asked: dict[tuple[str, int], _Asked] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        await look_until_cancelled(self.tick, self._asked.values, self._runtime)

    def tick(self) -> None:
        """Begin the queries that are due."""
        if self._source is None:
            return
        now = self._runtime.steady()
        wanted = {
            (pool.metadata.uid, pool.spec.forecast.window_minutes): pool
            for pool in self._pools.pools.values()
            if pool.spec.forecast.mode is not ForecastMode.OFF
        }
        for gone in self._asked.keys() - wanted.keys():
            self._asked.pop(gone).stop()
        for key, pool in wanted.items():
            asked = self._asked.get(key)
            if asked is None:
                until = now + pool.spec.forecast.window_minutes * MINUTE
                asked = self._asked[key] = _Asked(until, self._new_backoff())
            if asked.is_due(now) and now < asked.until:
                asked.task = asyncio.create_task(self._ask(self._source, pool, asked))

    async def _ask(self, source: AsksRanges, pool: ComputePool, asked: _Asked) -> None:
        due = inf
        try:
            past = await self._past(source, pool)
            if past:
                self._pools.put_past_demand(pool.name, past, self._runtime.steady())
            else:
                due = self._runtime.steady() + asked.backoff.next()
        except (SourceError, QueryError):
            # The signals' poller reports a source that does not answer; here nothing is known without it.
            due = self._runtime.steady() + asked.backoff.next()
        except Exception as error:  # noqa: BLE001 - the other pools go on
            due = self._runtime.steady() + asked.backoff.next()
            self._on_failure(f"the past demand of the pool {pool.name} can't be read", error)
        finally:
            asked.task, asked.due = None, due

    async def _past(self, source: AsksRanges, pool: ComputePool) -> Points:
        """Return the demand before now, by the operator's clock."""
        now = self._runtime.wall()
        ahead = await _server_time(source) - now
        query = rendered(QUERY, Names(pool.name), self._enforced)
        minutes = pool.spec.forecast.window_minutes + MARGIN_MINUTES
        end = now + ahead
        found = await source.query_range(query, end - minutes * MINUTE, end, MINUTE)
        if not found:
            return ()
        (series,) = found if len(found) == 1 else (None,)
        if series is None or any(not 0 <= value <= LARGEST for _, value in series.points):
            raise GarbledError("the history of the demand has several series, or a demand that no pool can have")
        # Points after the server's present are no history.
        return tuple((at - ahead, round(value * MILLI)) for at, value in series.points if at <= end)

    def _new_backoff(self) -> Backoff:
        return Backoff(base=RETRY_SECONDS, cap=RETRY_CAP_SECONDS, rng=self._runtime.rng)


async def _server_time(source: AsksRanges) -> float:
    """Return the time of day by the server's clock: the operator's clock may differ from it."""
    found = await source.query(NOW)
    if len(found) != 1 or found[0].value is None:
        raise GarbledError("the server does not tell its time")
    return found[0].value
