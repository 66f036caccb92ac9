"""Asks the source of metrics for the signals of all pools, and keeps the last answers.

Passes never wait for an answer: they read the last one, and its age. Equal queries of several pools are asked once, and
a query is never under way twice. After an error its next attempt waits longer each time.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Protocol

import msgspec

from computepool.kube.retry import Backoff
from computepool.kube.runtime import Runtime
from computepool.model.api import ComputePool, MetricSignal, Where
from computepool.model.presets import Reads, reads_of
from computepool.model.signals import Answer, SignalData, signal_key
from computepool.observe.signal_answers import Known, Sorted, answer_of, labels_of, sort_series
from computepool.prometheus.answers import Series
from computepool.prometheus.errors import SourceError
from computepool.prometheus.promql import NO_LABELS, NO_NAMES, Names, age_query, rendered
from computepool.prometheus.query_rules import QueryError, refuse_hidden_calm

TICK_SECONDS: Final = 1.0
INTERVAL_SECONDS: Final = 15.0
JITTER: Final = 0.1
"""Part of the interval by which it varies, so that queries spread over time."""
BACKOFF_CAP_SECONDS: Final = 60.0
"""The longest wait after an error, unless the interval is longer: a source that is back is asked within a minute."""
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

    def put_signals(self, pool: str, data: Mapping[str, SignalData], at: float) -> None:
        """Take what is known of a pool's signals now. `at`: by the monotonic clock."""


class Question(msgspec.Struct, frozen=True):
    """One distinct query, and how its answer is read."""

    query: str
    reads: Reads


class _Polled:
    """A question over time."""

    def __init__(self, backoff: Backoff) -> None:
        self.data = SignalData(error="The source has not answered yet.")
        self.due = 0.0
        self.asking: asyncio.Task[None] | None = None
        self.backoff = backoff

    def stop(self) -> None:
        """End a query that is under way."""
        if self.asking is not None:
            self.asking.cancel()


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
    ) -> None:
        """`source`: None if the operator has none. `enforced`: labels that are put on every selector.
        `interval`: seconds between two answers to a query.

        `on_query` gets the kind of error of each attempt (empty: an answer came) and how many seconds it took.
        """
        self._source = source
        self._cluster = cluster
        self._runtime = runtime
        self._enforced = enforced
        self._interval = interval
        self._on_query = on_query
        self._polled: dict[Question, _Polled] = {}
        # By pool and key of a signal: what is asked for it, or why nothing can be asked.
        self._asked: dict[str, dict[str, Question | SignalData]] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                self.tick()
                await self._runtime.sleep(TICK_SECONDS)
        finally:
            for polled in self._polled.values():
                polled.stop()

    def tick(self) -> None:
        """Look which queries the pools need now, and begin those that are due."""
        self._asked = {name: self._asked_for(pool) for name, pool in self._cluster.pools.items()}
        wanted = {one for asked in self._asked.values() for one in asked.values() if isinstance(one, Question)}
        for question in self._polled.keys() - wanted:
            self._polled.pop(question).stop()
        now = self._runtime.steady()
        for question in wanted:
            polled = self._polled.setdefault(question, _Polled(self._new_backoff()))
            if polled.asking is None and now >= polled.due:
                polled.asking = asyncio.create_task(self._ask(question, polled))
        for pool in self._asked:
            self._put(pool)

    def _put(self, pool: str) -> None:
        """Hand over what is known of a pool's signals."""
        data = {
            key: asked if isinstance(asked, SignalData) else self._polled[asked].data
            for key, asked in self._asked[pool].items()
        }
        self._cluster.put_signals(pool, data, self._runtime.steady())

    def _asked_for(self, pool: ComputePool) -> dict[str, Question | SignalData]:
        return {
            signal_key(metric, provider): self._question(pool, metric, provider)
            for metric, provider in signals_of(pool)
        }

    def _question(self, pool: ComputePool, metric: MetricSignal, provider: str) -> Question | SignalData:
        if self._source is None:
            return NO_SOURCE
        try:
            return question_of(pool, metric, provider, self._cluster, self._enforced)
        except QueryError as error:
            return SignalData(error=f"The query of {metric.name} can't be sent: {error}.")

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
        finally:
            # Whatever happens, the next attempt waits.
            polled.asking, polled.due = None, self._runtime.steady() + wait
        self._on_query(kind, self._runtime.steady() - began)
        for pool, asked in self._asked.items():
            if question in asked.values():
                self._put(pool)

    async def _answer(self, question: Question) -> Answer:
        assert self._source is not None
        # The samples are at least as old as the question.
        at = self._runtime.wall()
        found = await ask(self._source, question, self._cluster)
        return answer_of(question.reads, found, at)

    def _new_backoff(self) -> Backoff:
        return Backoff(base=self._interval, cap=max(self._interval, BACKOFF_CAP_SECONDS), rng=self._runtime.rng)


def question_of(
    pool: ComputePool, metric: MetricSignal, provider: str, cluster: Cluster, enforced: Mapping[str, str]
) -> Question:
    """Return what a signal asks now. `provider`: empty for all of them together. Raises QueryError."""
    reads = reads_of(metric)
    if metric.query is not None:
        # Presets leave out only values that their measure can't have.
        refuse_hidden_calm(metric.query, Decimal(metric.exit), rises=metric.rises)
    names = cluster.names_of(pool.name, provider) if "$" in reads.query else NO_NAMES
    return Question(rendered(reads.query, names, enforced), reads)


async def ask(source: Asks, question: Question, known: Known) -> Sequence[Sorted]:
    """Ask for the values and the ages of a question; return every series. Raises SourceError."""
    values = await source.query(question.query)
    ages = await source.query(age_query(question.query, labels_of(question.reads)))
    return sort_series(question.reads, values, ages, known)


def signals_of(pool: ComputePool) -> Iterable[tuple[MetricSignal, str]]:
    """Return every signal of a pool with the provider that it is asked for; empty: for all of them together."""
    spec = pool.spec
    for metric in spec.saturation.metrics:
        yield metric, spec.primary.name if metric.where is Where.BASELINE else ""
    for health in spec.health.metrics:
        for provider in spec.providers:
            yield health, provider.name
