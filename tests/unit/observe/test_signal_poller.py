"""The poller asks each distinct query once, never twice at a time, and waits longer after each error."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool
from computepool.model.signals import SignalData
from computepool.observe.signal_poller import Asks, SignalPoller
from computepool.prometheus.answers import Series
from computepool.prometheus.client import TURN
from computepool.prometheus.errors import BadQueryError, SourceError, UnreachableError
from computepool.prometheus.promql import Names
from tests.builders import NOW, pool, provider

QUEUE = {
    "name": "queue",
    "query": "waiting",
    "labels": {"pod": "pod", "namespace": "namespace"},
    "enter": "5",
    "exit": "1",
}
AGED = {"name": "aged", "query": "waiting", "enter": "5", "exit": "1"}
OF_NODES = {
    "name": "errors",
    "query": 'xid{node=~"$nodes"}',
    "labels": {"node": "node"},
    "enter": "5",
    "exit": "1",
}


@dataclass
class Cluster:
    """Pools, and what the poller has handed over."""

    pools: dict[str, ComputePool] = field(default_factory=dict)
    given: dict[str, Mapping[str, SignalData]] = field(default_factory=dict)
    nodes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    while_named: Callable[[], None] = lambda: None

    def is_node(self, name: str) -> bool:
        return name in ("a1", "a2", "n1")

    def names_of(self, pool: str, provider: str) -> Names:
        self.while_named()
        if pool in self.broken:
            raise KeyError(pool)
        return Names(pool, provider, self.nodes.get(provider, ()))

    def put_signals(self, pool: str, data: Mapping[str, SignalData]) -> bool:
        new = self.given.get(pool) != data
        self.given[pool] = data
        return new


@dataclass
class Source:
    """Answers when it is told to."""

    asked: list[str] = field(default_factory=list)
    fails: SourceError | None = None
    breaks: Exception | None = None
    hold: asyncio.Event | None = None
    series: tuple[Series, ...] = ()

    async def query(self, query: str) -> tuple[Series, ...]:
        self.asked.append(query)
        if self.hold is not None:
            await self.hold.wait()
        for error in (self.fails, self.breaks):
            if error is not None:
                raise error
        labels = {"namespace": "ml", "pod": "s-0", "node": "a1"}
        if self.series and "timestamp(" not in query:
            return self.series
        return (Series(labels, 2.0 if query.startswith("max by") else 7.0),)

    @property
    def values(self) -> list[str]:
        """The queries for values, without those for ages."""
        return [query for query in self.asked if "timestamp(" not in query]

    @property
    def ages(self) -> list[str]:
        """The queries for ages, with which each turn begins."""
        return [query for query in self.asked if "timestamp(" in query]


@dataclass
class Polling:
    """A poller whose clock a test sets."""

    cluster: Cluster = field(default_factory=Cluster)
    source: Source = field(default_factory=Source)
    now: float = 0.0
    queried: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    poller: SignalPoller = field(init=False)

    def __post_init__(self) -> None:
        self.poller = self.make(self.source)

    def make(self, source: Asks | None, enforced: Mapping[str, str] | None = None) -> SignalPoller:
        runtime = Runtime(wall=lambda: NOW + self.now, steady=lambda: self.now, rng=random.Random(1))
        return SignalPoller(
            source,
            self.cluster,
            runtime,
            enforced=enforced or {},
            interval=10.0,
            on_query=lambda kind, _seconds: self.queried.append(kind),
            on_change=self.told.append,
            on_failure=lambda message, _error: self.failures.append(message),
        )

    async def at(self, second: float) -> None:
        """Let the poller look at that second, let what it has begun end, and let it hand over what came."""
        self.now = second
        self.poller.tick()
        for _ in range(10):
            await asyncio.sleep(0)
        self.poller.tick()

    def data(self, key: str, of: str = "inference") -> SignalData:
        return self.cluster.given[of][key]


def play(scenario: Callable[[Polling], Awaitable[None]], *pools: ComputePool) -> None:
    async def run() -> None:
        polling = Polling()
        polling.cluster.pools = {one.name: one for one in pools}
        await scenario(polling)

    asyncio.run(run())


def test_an_answer_is_handed_over_and_asked_for_again_after_the_interval() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        answer = p.data("saturation/queue").answer
        assert answer is not None
        assert (answer.at, answer.pods["ml/s-0"].values, answer.pods["ml/s-0"].age) == (NOW, (7.0,), 2.0)
        await p.at(8)
        assert p.source.values == ["waiting"]
        await p.at(11)
        assert p.source.values == ["waiting"] * 2
        assert p.queried == ["", ""]
        assert p.data("saturation/queue").answer != answer

    play(scenario, pool(metrics=[QUEUE]))


def test_equal_queries_of_several_pools_are_asked_once() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        assert p.source.values == ["waiting"]
        first, second = (p.data("saturation/queue", name) for name in ("one", "two"))
        assert first.answer is second.answer

    play(scenario, pool(name="one", metrics=[QUEUE]), pool(name="two", metrics=[QUEUE]))


def test_a_query_is_never_under_way_twice() -> None:
    async def scenario(p: Polling) -> None:
        p.source.hold = asyncio.Event()
        await p.at(0)
        await p.at(100)
        assert len(p.source.asked) == 1
        assert p.data("saturation/queue").error == "The source has not answered yet."
        p.source.hold.set()
        await p.at(100)
        assert p.data("saturation/queue").answer is not None

    play(scenario, pool(metrics=[QUEUE]))


def test_after_an_error_the_last_answer_stays_and_the_next_attempts_wait_longer() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        p.source.fails = UnreachableError("no connection")
        times = [0.0]
        for second in range(1, 400):
            before = len(p.source.asked)
            await p.at(second)
            if len(p.source.asked) > before:
                times.append(second)
        data = p.data("saturation/queue")
        assert data.answer is not None
        assert (data.answer.at, data.error) == (NOW, "no connection.")
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses[:3] == sorted(pauses[:3])
        assert 30 <= pauses[-1] <= 61
        assert set(p.queried[1:]) == {"Unreachable"}
        p.source.fails = None
        await p.at(1000)
        assert p.data("saturation/queue").error == ""

    play(scenario, pool(metrics=[QUEUE]))


def test_one_query_that_fails_leaves_the_others_alone() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        assert p.data("saturation/bad").error.startswith("The query of bad can't be sent: unknown placeholder $node:")
        assert p.data("saturation/queue").answer is not None

    play(scenario, pool(metrics=[QUEUE, {**QUEUE, "name": "bad", "query": 'x{a="$node"}'}]))


def test_a_query_of_a_user_that_leaves_out_what_is_calm_is_not_sent() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        assert "`>` leaves out the calm series" in p.data("saturation/bad").error
        # Low values turn this signal on.
        assert p.data("saturation/good").answer is not None

    bad = {**QUEUE, "name": "bad", "query": "x > 5", "enter": "5", "exit": "1"}
    play(scenario, pool(metrics=[bad, {**bad, "name": "good", "enter": "7", "exit": "9"}]))


def test_a_query_that_is_no_longer_wanted_is_ended() -> None:
    async def scenario(p: Polling) -> None:
        p.source.hold = asyncio.Event()
        await p.at(0)
        p.cluster.pools = {}
        await p.at(1)
        p.source.hold.set()
        await p.at(2)
        assert p.queried == []

    play(scenario, pool(metrics=[QUEUE]))


def test_without_a_source_every_signal_says_so() -> None:
    async def scenario(p: Polling) -> None:
        p.poller = p.make(None)
        await p.at(0)
        assert "prometheus.url" in p.data("saturation/queue").error

    play(scenario, pool(metrics=[QUEUE]))


def test_enforced_labels_are_on_every_query() -> None:
    async def scenario(p: Polling) -> None:
        p.poller = p.make(p.source, {"team": "ml"})
        await p.at(0)
        assert all('team="ml"' in query for query in p.source.asked)
        assert len(p.source.asked) == 2

    play(scenario, pool(metrics=[QUEUE]))


def test_a_health_signal_is_asked_for_each_provider_with_its_nodes() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes = {"aws": ("a1", "a2"), "nebius": ("n1",)}
        await p.at(0)
        assert sorted(p.source.values) == ['xid{node=~"(?:a1|a2)"}', 'xid{node=~"(?:n1)"}']
        assert set(p.cluster.given["inference"]) == {"health/errors/aws", "health/errors/nebius"}

    play(scenario, pool(provider("aws"), provider("nebius"), health={"metrics": [OF_NODES]}))


OF_ONE = pool(provider("aws"), provider("nebius"), metrics=[{**OF_NODES, "name": "busy"}])
"""A pool whose only query has the names of the nodes of its primary."""


def test_while_nodes_come_and_go_a_query_is_asked_no_more_often_and_with_the_latest_names() -> None:
    async def scenario(p: Polling) -> None:
        for second in range(41):
            p.cluster.nodes["aws"] = (f"a{second}",)
            await p.at(second)
        asked = [int(query.removeprefix('xid{node=~"(?:a').removesuffix(')"}')) for query in p.source.values]
        # Each with the names of its own second.
        assert asked[0] == 0
        assert all(9 <= later - earlier <= 11 for earlier, later in pairwise(asked))
        assert len(asked) >= 4

    play(scenario, OF_ONE)


def test_after_a_change_of_nodes_the_last_answer_stands_until_the_next_with_its_own_time() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        await p.at(0)
        first = p.data("saturation/busy").answer
        assert first is not None
        p.cluster.nodes["aws"] = ("a1", "a2")
        p.source.hold = asyncio.Event()
        for second in (1, 11, 60, 600):
            await p.at(second)
            assert p.data("saturation/busy").answer is first
        assert ["(?:a1|a2)" in query for query in p.source.ages] == [False, True]
        p.source.hold.set()
        await p.at(601)
        last = p.data("saturation/busy")
        assert last.answer is not None
        assert (last.answer.at, last.error) == (NOW + 11, "")

    play(scenario, OF_ONE)


def test_the_last_answer_stands_also_while_the_query_with_other_nodes_fails() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        await p.at(0)
        p.cluster.nodes["aws"] = ("a1", "a2")
        p.source.fails = UnreachableError("no connection")
        await p.at(11)
        assert "(?:a1|a2)" in p.source.asked[-1]
        p.cluster.nodes["aws"] = ("a2",)
        await p.at(200)
        assert "(?:a2)" in p.source.asked[-1]
        data = p.data("saturation/busy")
        assert data.answer is not None
        assert (data.answer.at, data.error) == (NOW, "no connection.")

    play(scenario, OF_ONE)


def test_an_answer_does_not_stand_for_another_query_or_for_the_pods_of_another_spec() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        await p.at(0)
        p.source.hold = asyncio.Event()
        for edited in (
            pool(provider("aws"), provider("nebius"), metrics=[{**OF_NODES, "name": "busy", "query": "other"}]),
            pool(provider("aws", labels={"x": "y"}), provider("nebius"), metrics=[{**OF_NODES, "name": "busy"}]),
        ):
            p.cluster.pools["inference"] = OF_ONE
            p.source.hold.set()
            await p.at(p.now + 20)
            assert p.data("saturation/busy").answer is not None
            p.source.hold.clear()
            p.cluster.nodes["aws"] = (f"b{p.now:.0f}",)
            p.cluster.pools["inference"] = edited
            await p.at(p.now + 1)
            assert p.data("saturation/busy").answer is None

    play(scenario, OF_ONE)


def test_a_status_that_was_written_asks_nothing_anew() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        await p.at(0)
        p.cluster.pools["inference"] = OF_ONE.model_copy(update={"spec": OF_ONE.spec.model_copy()})
        await p.at(1)
        assert len(p.source.values) == 1
        assert p.data("saturation/busy").answer is not None

    play(scenario, OF_ONE)


def test_a_pool_whose_query_can_not_be_written_stops_no_other_and_is_tried_again() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        p.cluster.broken.add("broken")
        for second in range(9):
            await p.at(second)
        assert p.data("saturation/busy", "well").answer is not None
        assert p.data("saturation/busy", "broken") == SignalData(
            error="The query of busy can't be written: see the operator's log."
        )
        assert p.failures == ["the query of saturation/busy of the pool broken can't be written"]
        p.cluster.broken.clear()
        await p.at(10)
        assert p.data("saturation/busy", "broken").answer is not None

    play(scenario, *(OF_ONE.model_copy(update={"metadata": named}) for named in (BROKEN, WELL)))


BROKEN, WELL = (OF_ONE.metadata.model_copy(update={"name": name}) for name in ("broken", "well"))


def test_a_query_that_fails_unexpectedly_stops_no_other_and_its_text_is_not_told() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        p.source.breaks = RuntimeError("Authorization: Bearer abc")
        await p.at(12)
        data = p.data("saturation/queue")
        assert data.answer is not None
        assert (data.answer.at, data.error) == (NOW, "The query failed unexpectedly: see the operator's log.")
        assert (p.queried, p.failures) == (["", "Failed"], ["a query of signals failed"])
        p.source.breaks = None
        await p.at(100)
        assert p.data("saturation/queue").error == ""

    play(scenario, pool(metrics=[QUEUE]))


def test_pools_with_the_same_nodes_share_a_query_with_their_names() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        await p.at(0)
        assert p.source.values == ['xid{node=~"(?:a1)"}']
        assert p.data("saturation/busy", "broken").answer is p.data("saturation/busy", "well").answer

    play(scenario, *(OF_ONE.model_copy(update={"metadata": named}) for named in (BROKEN, WELL)))


def test_queries_that_take_long_to_write_are_written_in_turns() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.nodes["aws"] = ("a1",)
        p.cluster.while_named = lambda: setattr(p, "now", p.now + 0.03)
        written = []
        for _ in range(5):
            p.poller.tick()
            await asyncio.sleep(0)
            written.append(len(p.source.values))
        # Each takes 30 ms, and a tick goes on for 50 ms.
        assert written[:2] == [2, 4]
        assert max(written) == 5

    play(scenario, pool(metrics=named_of(0)))


def test_while_nodes_come_and_go_every_query_that_takes_long_to_write_has_its_turn() -> None:
    async def scenario(p: Polling) -> None:
        p.cluster.while_named = lambda: setattr(p, "now", p.now + 0.06)
        for second in range(100):
            p.cluster.nodes["aws"] = (f"a{second}",)
            await p.at(second)
        asked = Counter(query.partition("{")[0] for query in p.source.values)
        # A tick writes one query, so that the last is written after 25 s. Each is asked about every 10 s from then on.
        assert asked.keys() == {f"xid_{number}" for number in range(50)}
        assert min(asked.values()) >= 5

    play(scenario, *(pool(name=f"p{first}", metrics=named_of(first)) for first in range(0, 50, 5)))


def named_of(first: int) -> list[dict[str, object]]:
    """Five signals with queries of their own."""
    numbers = range(first, first + 5)
    return [{**OF_NODES, "name": f"busy-{one}", "query": f'xid_{one}{{node=~"$nodes"}}'} for one in numbers]


def test_a_pool_is_told_of_once_for_all_answers_of_a_tick_and_not_without_any() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        # That nothing is known yet, and then both answers.
        assert p.told == ["inference"] * 2
        await p.at(5)
        assert p.told == ["inference"] * 2

    play(scenario, pool(metrics=[QUEUE, AGED]))


def test_an_age_without_labels_is_that_of_all_series() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        answer = p.data("saturation/aged").answer
        assert answer is not None
        assert answer.whole is not None
        assert (answer.whole.values, answer.whole.age) == ((7.0,), 2.0)

    play(scenario, pool(metrics=[AGED]))


def test_other_tasks_have_turns_while_a_large_answer_is_sorted() -> None:
    async def scenario(p: Polling) -> None:
        p.source.series = tuple(Series({"node": "a1", "gpu": str(number)}, 1.0) for number in range(5 * TURN))
        p.now = 0
        p.poller.tick()
        for _ in range(5):
            await asyncio.sleep(0)
        p.poller.tick()
        assert p.data("saturation/busy").answer is None
        await p.at(1)
        answer = p.data("saturation/busy").answer
        assert answer is not None
        assert len(answer.nodes["a1"].values) == 5 * TURN

    play(scenario, OF_ONE)


def test_the_kind_of_an_error_is_counted() -> None:
    async def scenario(p: Polling) -> None:
        p.source.fails = BadQueryError("parse error")
        await p.at(0)
        assert p.queried == ["BadQuery"]

    play(scenario, pool(metrics=[QUEUE]))
