"""The reader asks the source of metrics once for the demand before, and takes only an answer that it understands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool
from computepool.model.demand import Points
from computepool.observe.demand_reader import DemandReader
from computepool.prometheus.answers import Series
from computepool.prometheus.errors import UnreachableError
from computepool.prometheus.ranges import SeriesOverTime
from tests.builders import NOW, pool

MINUTE = 60.0
REPORT = {"mode": "Report", "windowMinutes": 10}


@dataclass
class Source:
    """Knows a demand that grows by two accelerators a minute; its clock may be ahead of the operator's."""

    ahead: float = 0.0
    fails: Exception | None = None
    found: tuple[SeriesOverTime, ...] | None = None
    hold: asyncio.Event | None = None
    asked: list[str] = field(default_factory=list)

    async def query(self, query: str) -> tuple[Series, ...]:
        assert query == "vector(time())"
        if self.fails is not None:
            raise self.fails
        return (Series({}, NOW + self.ahead),)

    async def query_range(self, query: str, start: float, end: float, step: float) -> tuple[SeriesOverTime, ...]:
        self.asked.append(query)
        if self.hold is not None:
            await self.hold.wait()
        if self.found is not None:
            return self.found
        count = round((end - start) / step)
        return (SeriesOverTime({}, tuple((start + index * step, 2.0 * index) for index in range(count + 1))),)


@dataclass
class Reading:
    """A reader whose clock a test sets."""

    source: Source = field(default_factory=Source)
    pools: dict[str, ComputePool] = field(default_factory=lambda: {"inference": pool(forecast=REPORT)})
    given: dict[str, Points] = field(default_factory=dict)
    asked_at: list[float] = field(default_factory=list)
    now: float = 0.0
    enforced: Mapping[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    reader: DemandReader = field(init=False)

    def __post_init__(self) -> None:
        runtime = Runtime(wall=lambda: NOW, steady=lambda: self.now, rng=random.Random(1))
        self.reader = DemandReader(self.source, self, runtime, enforced=self.enforced, on_failure=self.failed)

    def failed(self, message: str, error: Exception) -> None:
        self.failures.append(f"{message}: {type(error).__name__}")

    def put_past_demand(self, pool: str, past: Points, at: float) -> None:
        assert at == self.now
        self.given[pool] = past

    async def at(self, second: float) -> None:
        """Let the reader look at that second, and let what it has begun end."""
        self.now, before = second, len(self.source.asked)
        self.reader.tick()
        for _ in range(10):
            await asyncio.sleep(0)
        self.asked_at += [second] * (len(self.source.asked) - before)


def play(scenario: Callable[[Reading], Awaitable[None]], reading: Reading) -> Reading:
    async def run() -> None:
        await scenario(reading)

    asyncio.run(run())
    return reading


async def three_looks(reading: Reading) -> None:
    for second in (0.0, 1.0, 300.0):
        await reading.at(second)


@pytest.mark.parametrize("ahead", [0.0, 600.0, -600.0])
def test_a_pool_is_asked_for_once_and_the_times_are_by_the_operators_clock(ahead: float) -> None:
    found = play(three_looks, Reading(Source(ahead=ahead)))
    assert found.source.asked == ['max(computepool_demand_accelerators{pool="inference"})']
    past = found.given["inference"]
    assert past[-1] == (NOW, 24_000)
    assert past[0] == (NOW - 12 * MINUTE, 0)


def test_enforced_labels_are_on_the_query() -> None:
    found = play(three_looks, Reading(enforced={"cluster": "c1"}))
    assert found.source.asked == ['max(computepool_demand_accelerators{cluster="c1",pool="inference"})']


def test_a_pool_without_a_forecast_is_not_asked_for() -> None:
    found = play(three_looks, Reading(pools={"inference": pool()}))
    assert not found.source.asked


def test_an_empty_answer_is_asked_again_until_the_window_is_over() -> None:
    async def scenario(reading: Reading) -> None:
        for second in range(1200):
            await reading.at(float(second))

    found = play(scenario, Reading(Source(found=())))
    assert not found.given
    assert 5 < len(found.source.asked) < 30
    assert max(found.asked_at) < 600.0


def test_a_source_that_is_back_is_heard() -> None:
    async def scenario(reading: Reading) -> None:
        await reading.at(0.0)
        reading.source.fails = None
        await reading.at(120.0)

    assert play(scenario, Reading(Source(fails=UnreachableError("no route")))).given


@pytest.mark.parametrize(
    "found",
    [
        (SeriesOverTime({}, ((NOW, 1.0),)), SeriesOverTime({"a": "b"}, ((NOW, 1.0),))),
        (SeriesOverTime({}, ((NOW, -1.0),)),),
        (SeriesOverTime({}, ((NOW, 1e9),)),),
        (SeriesOverTime({}, ((NOW + 3600, 1.0),)),),
        (SeriesOverTime({}, ()),),
    ],
    ids=["two series", "negative", "huge", "of the future", "no number"],
)
def test_an_answer_that_can_not_be_is_no_past(found: tuple[SeriesOverTime, ...]) -> None:
    assert not play(three_looks, Reading(Source(found=found))).given


def test_a_query_is_never_under_way_twice_and_ends_with_its_pool() -> None:
    async def scenario(reading: Reading) -> None:
        reading.source.hold = asyncio.Event()
        await reading.at(0.0)
        await reading.at(1.0)
        assert len(reading.source.asked) == 1
        reading.pools.clear()
        await reading.at(2.0)
        reading.source.hold.set()
        await reading.at(3.0)

    assert not play(scenario, Reading()).given


def test_without_a_source_nothing_is_asked() -> None:
    async def scenario(reading: Reading) -> None:
        runtime = Runtime(wall=lambda: NOW, steady=lambda: 0.0, rng=random.Random(1))
        DemandReader(None, reading, runtime).tick()

    assert not play(scenario, Reading()).given


def test_an_unexpected_error_is_told_and_the_pool_is_asked_for_again() -> None:
    async def scenario(reading: Reading) -> None:
        reading.source.fails = KeyError("secret")
        await reading.at(0)
        assert reading.failures == ["the past demand of the pool inference can't be read: KeyError"]
        reading.source.fails = None
        await reading.at(60)
        assert reading.given["inference"]

    play(scenario, Reading())
