"""The poller asks each distinct query once, never twice at a time, and waits longer after each error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool
from computepool.model.signals import SignalData
from computepool.observe.signal_poller import Asks, SignalPoller
from computepool.prometheus.answers import Series
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
    last_at: float = 0.0

    def is_node(self, name: str) -> bool:
        return name in ("a1", "a2", "n1")

    def names_of(self, pool: str, provider: str) -> Names:
        return Names(pool, provider, self.nodes.get(provider, ()))

    def put_signals(self, pool: str, data: Mapping[str, SignalData], at: float) -> None:
        self.given[pool] = data
        self.last_at = at


@dataclass
class Source:
    """Answers when it is told to."""

    asked: list[str] = field(default_factory=list)
    fails: SourceError | None = None
    hold: asyncio.Event | None = None

    async def query(self, query: str) -> tuple[Series, ...]:
        self.asked.append(query)
        if self.hold is not None:
            await self.hold.wait()
        if self.fails is not None:
            raise self.fails
        labels = {"namespace": "ml", "pod": "s-0", "node": "a1"}
        return (Series(labels, 2.0 if query.startswith("max by") else 7.0),)

    @property
    def values(self) -> list[str]:
        """The queries for values, without those for ages."""
        return [query for query in self.asked if "timestamp(" not in query]


@dataclass
class Polling:
    """A poller whose clock a test sets."""

    cluster: Cluster = field(default_factory=Cluster)
    source: Source = field(default_factory=Source)
    now: float = 0.0
    queried: list[str] = field(default_factory=list)
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
        )

    async def at(self, second: float) -> None:
        """Let the poller look at that second, and let what it has begun end."""
        self.now = second
        self.poller.tick()
        for _ in range(10):
            await asyncio.sleep(0)

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
        assert p.cluster.last_at == 11

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
        assert p.source.values == ["waiting"]
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
            before = len(p.source.values)
            await p.at(second)
            if len(p.source.values) > before:
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
        assert "`>` leaves out what is calm" in p.data("saturation/bad").error
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
        p.cluster.nodes["aws"] = ("a1",)
        await p.at(1)
        assert p.source.values[-1] == 'xid{node=~"(?:a1)"}'

    play(scenario, pool(provider("aws"), provider("nebius"), health={"metrics": [OF_NODES]}))


def test_an_age_without_labels_is_that_of_all_series() -> None:
    async def scenario(p: Polling) -> None:
        await p.at(0)
        answer = p.data("saturation/aged").answer
        assert answer is not None
        assert answer.whole is not None
        assert (answer.whole.values, answer.whole.age) == ((7.0,), 2.0)

    play(scenario, pool(metrics=[AGED]))


def test_the_kind_of_an_error_is_counted() -> None:
    async def scenario(p: Polling) -> None:
        p.source.fails = BadQueryError("parse error")
        await p.at(0)
        assert p.queried == ["BadQuery"]

    play(scenario, pool(metrics=[QUEUE]))
