"""Asks the source of metrics for the signals of all pools, and keeps the last answers.

Passes never wait for an answer: they read the last one, and its age. Equal queries of several pools are asked once, and
a query is never under way twice. After an error its next attempt waits longer each time.

A query with `$nodes` changes with the nodes. Its last answer stands until the changed query has an answer, or until its
samples are too old.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final, Protocol

import msgspec

from computepool.kube.retry import Backoff
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool, MetricSignal, PoolSpec, Where
from computepool.model.presets import Reads, reads_of
from computepool.model.signals import NO_DATA, Answer, SignalData, signal_key
from computepool.observe.repeated_query import RepeatedQuery, look_until_cancelled
from computepool.observe.signal_answers import Collected, Known, Sorted, labels_of, sort_series
from computepool.prometheus.answers import Series
from computepool.prometheus.client import TURN
from computepool.prometheus.errors import SourceError
from computepool.prometheus.promql import NO_LABELS, NO_NAMES, Names, age_query, rendered
from computepool.prometheus.query_rules import QueryError, refuse_hidden_calm

INTERVAL_SECONDS: Final = 15.0
JITTER: Final = 0.1
"""Part of the interval by which it varies, so that queries spread over time."""
BACKOFF_CAP_SECONDS: Final = 60.0
"""The longest wait after an error, unless the interval is longer: a source that is back is asked within a minute."""
WRITING_SECONDS: Final = 0.05
"""Time after which a tick writes no more queries. Passes wait, and a query with 2,500 names takes 0.2 s."""
NO_SOURCE: Final = SignalData(error="The operator has no source of metrics: set the chart's value prometheus.url.")


class Asks(Protocol):
    """Answers queries: `prometheus.client.PrometheusClient`."""

    async def query(self, query: str) -> tuple[Series, ...]:
        """Return the vector; raises only SourceError."""


class Cluster(Known, Protocol):
    """What the poller reads of the cluster."""

    @property
    def pools(self) -> Mapping[str, ComputePool]:
        """The pools by name."""

    def names_of(self, pool: str, provider: str) -> Names:
        """Return the values of the placeholders for a pool and one of its providers; empty: all of them together."""

    def put_signals(self, pool: str, data: Mapping[str, SignalData]) -> bool:
        """Take what is known of a pool's signals now; return whether that is new."""


class Question(msgspec.Struct, frozen=True):
    """One distinct query, and how its answer is read."""

    query: str
    reads: Reads


class _Polled(RepeatedQuery):
    """A question over time."""

    def __init__(self, backoff: Backoff) -> None:
        super().__init__(backoff)
        self.data = NO_DATA


class _Signal:
    """A signal of a pool that is asked for one provider, or for all of them together."""

    def __init__(self, metric: MetricSignal, provider: str) -> None:
        self.metric = metric
        self.provider = provider
        self.key = signal_key(metric, provider)
        self.reads = reads_of(metric)
        self.question: Question | None = None
        self.data = NO_DATA
        """What is known without an answer to the question: why there is none, and the last answer before."""
        self.names: Names | None = None
        """The names that the question has."""
        self.write_at = 0.0
        """An interval after the question was written, by the monotonic clock. If that failed, it is tried then."""


class _Followed:
    """The signals of one pool, and the spec that they are of."""

    def __init__(self, spec: PoolSpec, signals: list[_Signal]) -> None:
        self.spec = spec
        self.signals = signals


class SignalPoller:
    """Keeps the answers to the signals of all pools current."""

    def __init__(
        self,
        source: Asks | None,
        cluster: Cluster,
        runtime: Runtime,
        *,
        enforced: Mapping[str, str] = NO_LABELS,
        interval: float = INTERVAL_SECONDS,
        on_query: Callable[[str, float], None] = lambda _error, _seconds: None,
        on_change: Callable[[str], None] = lambda _pool: None,
        on_failure: Callable[[str, Exception], None] = lambda _message, _error: None,
    ) -> None:
        """`source`: None if the operator has none. `enforced`: labels that are put on every selector.
        `interval`: seconds between two answers to a query.

        `on_query` gets the kind of error of each attempt (empty: an answer came) and how many seconds it took;
        `on_change` a pool whose data is new; `on_failure` what has failed, and the unexpected error.
        """
        self._source = source
        self._cluster = cluster
        self._runtime = runtime
        self._enforced = enforced
        self._interval = interval
        self._on_query = on_query
        self._on_change = on_change
        self._on_failure = on_failure
        self._polled: dict[Question, _Polled] = {}
        self._followed: dict[str, _Followed] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        await look_until_cancelled(self.tick, self._polled.values, self._runtime)

    def tick(self) -> None:
        """Hand over together what has come since the last tick, and begin the queries that are due."""
        self._followed = {name: self._follow(pool) for name, pool in self._cluster.pools.items()}
        if self._source is not None:
            self._write_questions()
            self._ask_due()
            self._forget_earlier_answers()
        for pool, followed in self._followed.items():
            if self._cluster.put_signals(pool, {signal.key: self._data(signal) for signal in followed.signals}):
                self._on_change(pool)

    def _follow(self, pool: ComputePool) -> _Followed:
        """Return the pool's signals; anew if its spec has changed."""
        before = self._followed.get(pool.name)
        if before is None or (before.spec is not pool.spec and before.spec != pool.spec):
            return _Followed(pool.spec, [_Signal(metric, provider) for metric, provider in signals_of(pool)])
        before.spec = pool.spec
        return before

    def _write_questions(self) -> None:
        """Write the questions whose names have changed, as far as there is time: the oldest first."""
        began = self._runtime.steady()
        every = [(pool, signal) for pool, followed in self._followed.items() for signal in followed.signals]
        for pool, signal in sorted(every, key=lambda one: one[1].write_at):
            if self._may_change(signal, began):
                self._write_question(pool, signal, began)
            if self._runtime.steady() - began >= WRITING_SECONDS:
                return

    def _may_change(self, signal: _Signal, now: float) -> bool:
        """Say whether a signal's question may be replaced: while nodes come and go, it is asked no more often."""
        if signal.question is None:
            return now >= signal.write_at
        return self._polled[signal.question].is_due(now)

    def _write_question(self, pool: str, signal: _Signal, now: float) -> None:
        """Write a signal's question anew if its names have changed. Its last answer stands meanwhile."""
        answer, failed = self._data(signal).answer, f"The query of {signal.metric.name} can't be"
        try:
            names = names_for(pool, signal.reads, signal.provider, self._cluster)
            if names == signal.names:
                return
            signal.question, signal.names, signal.write_at = None, names, now + self._interval
            signal.question = _question(signal.metric, signal.reads, names, self._enforced)
            signal.data = SignalData(answer, NO_DATA.error)
        except QueryError as error:
            signal.data = SignalData(answer, f"{failed} sent: {error}.")
        except Exception as error:  # noqa: BLE001 - the other signals go on
            signal.question, signal.names, signal.write_at = None, None, now + self._interval
            signal.data = SignalData(answer, f"{failed} written: see the operator's log.")
            self._on_failure(f"the query of {signal.key} of the pool {pool} can't be written", error)

    def _ask_due(self) -> None:
        """Begin the queries that are due, and forget those that no signal asks."""
        now = self._runtime.steady()
        signals = (signal for followed in self._followed.values() for signal in followed.signals)
        wanted = {signal.question for signal in signals if signal.question is not None}
        for question in self._polled.keys() - wanted:
            self._polled.pop(question).stop()
        for question in wanted:
            polled = self._polled.setdefault(question, _Polled(self._new_backoff()))
            if polled.is_due(now):
                polled.task = asyncio.create_task(self._ask(question, polled))

    def _forget_earlier_answers(self) -> None:
        """Forget the answers to earlier questions, where there is an answer to the question of now."""
        for followed in self._followed.values():
            for signal in followed.signals:
                if signal.question is not None and self._polled[signal.question].data.answer is not None:
                    signal.data = NO_DATA

    def _data(self, signal: _Signal) -> SignalData:
        """Return what is known of a signal."""
        if self._source is None:
            return NO_SOURCE
        if signal.question is None:
            return signal.data
        polled = self._polled[signal.question].data
        return polled if polled.answer is not None else SignalData(signal.data.answer, polled.error)

    async def _ask(self, question: Question, polled: _Polled) -> None:
        began = self._runtime.steady()
        kind, wait = "", self._interval
        try:
            polled.data = SignalData(await self._answer(question))
            polled.backoff.reset()
            wait *= self._runtime.rng.uniform(1 - JITTER, 1 + JITTER)
        except SourceError as error:
            kind = error.kind
            polled.data = SignalData(polled.data.answer, f"{error}.")
            wait = max(wait, polled.backoff.next())
        except Exception as error:  # noqa: BLE001 - the other queries go on
            kind = SourceError.kind
            polled.data = SignalData(polled.data.answer, "The query failed unexpectedly: see the operator's log.")
            wait = max(wait, polled.backoff.next())
            self._on_failure("a query of signals failed", error)
        finally:
            # Whatever happens, the next attempt waits.
            polled.task, polled.due = None, self._runtime.steady() + wait
        self._on_query(kind, self._runtime.steady() - began)

    async def _answer(self, question: Question) -> Answer:
        assert self._source is not None
        # The samples are at least as old as the question.
        at = self._runtime.wall()
        collected = Collected(question.reads)
        async for series in ask(self._source, question, self._cluster):
            collected.add(series)
        return collected.answer(at)

    def _new_backoff(self) -> Backoff:
        return Backoff(base=self._interval, cap=max(self._interval, BACKOFF_CAP_SECONDS), rng=self._runtime.rng)


def names_for(pool: str, reads: Reads, provider: str, cluster: Cluster) -> Names:
    """Return the names that a signal's query is filled in with, and no others: equal queries of pools are equal."""
    query = reads.query
    if "$" not in query:
        return NO_NAMES
    names = cluster.names_of(pool, provider)
    return Names(
        pool=names.pool if "$pool" in query else "",
        provider=names.provider if "$provider" in query else "",
        nodes=names.nodes if "$nodes" in query else (),
        namespaces=names.namespaces if "$namespaces" in query else (),
    )


def question_of(
    pool: ComputePool, metric: MetricSignal, provider: str, cluster: Cluster, enforced: Mapping[str, str]
) -> Question:
    """Return what a signal asks now. `provider`: empty for all of them together. Raises QueryError."""
    reads = reads_of(metric)
    return _question(metric, reads, names_for(pool.name, reads, provider, cluster), enforced)


def _question(metric: MetricSignal, reads: Reads, names: Names, enforced: Mapping[str, str]) -> Question:
    if metric.query is not None:
        # Presets leave out only values that their measure can't have.
        refuse_hidden_calm(metric.query, Decimal(metric.exit), rises=metric.rises)
    return Question(rendered(reads.query, names, enforced), reads)


async def ask(source: Asks, question: Question, known: Known) -> AsyncIterator[Sequence[Sorted]]:
    """Ask for the ages and the values of a question; yield every series. Raises SourceError.

    The series come in parts, between which other tasks have a turn: to sort 40,000 takes 50 ms.
    """
    # Ages first: after a scrape in between, a sample looks older than it is, and never younger.
    ages = await source.query(age_query(question.query, labels_of(question.reads)))
    values = await source.query(question.query)
    series = sort_series(question.reads, values, ages, known)
    while part := list(islice(series, TURN)):
        yield part
        await asyncio.sleep(0)


def signals_of(pool: ComputePool) -> Iterable[tuple[MetricSignal, str]]:
    """Return every signal of a pool with the provider that it is asked for; empty: for all of them together."""
    spec = pool.spec
    for metric in spec.saturation.metrics:
        yield metric, spec.primary.name if metric.where is Where.BASELINE else ""
    for health in spec.health.metrics:
        for provider in spec.providers:
            yield health, provider.name
