"""Queries that users write, on a real Prometheus: which series belong to a node, and how old their samples are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest

from computepool.model.presets import Reads, Scope
from computepool.observe.signal_answers import Sorted
from computepool.observe.signal_poller import Question, ask
from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.promql import rendered
from computepool.prometheus.source import Source
from e2e.exporter import Exporter
from e2e.prometheus import Prometheus, Target, until_complete

BY_NODE = Reads("", Scope.NODE, node_labels=("node",))
OLD_SECONDS = 60.0
"""Age of the samples of the metrics that begin with `old`."""
TEXT = """
busy{{node="{0}"}} 5
calls_total{{node="{0}"}} 3
calls{{node="{0}"}} 4
at_host{{host="{0}",serial="s"}} 7
wrong{{node="an-alias",host="{0}"}} 8
node_of{{serial="s",node="{0}"}} 1
broken_bucket{{node="{0}",le="1"}} 1
broken_bucket{{node="{0}",le="+Inf"}} 2
broken_bucket{{node="{0}",le="no number"}} 2
"""
OLD = """
old_factor 2 {0}
old_host{{host="n-1"}} 9 {0}
old_total{{node="n-1"}} 1 {0}
"""


class Nodes:
    """The nodes of the cluster."""

    def is_node(self, name: str) -> bool:
        return name in ("n-1", "n-2")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Exporter() as exporter, Prometheus(tmp_path_factory.mktemp("queries"), exporter) as running:
        exporter.serve("n-1", TEXT.format("n-1"))
        exporter.serve("old", OLD.format(round((time.time() - OLD_SECONDS) * 1000)))
        running.watch([Target("n-1"), Target("old")])
        running.wait_for("rate(calls[3s])", 1)
        running.wait_for("old_factor", 1)
        yield running


def asked(prometheus: Prometheus, query: str) -> Sequence[Sorted]:
    async def run() -> Sequence[Sorted]:
        async with PrometheusClient(Source(url=prometheus.url)) as client:
            question = Question(rendered(query), BY_NODE)
            return [one async for part in ask(client, question, Nodes()) for one in part]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "values", "is_old"),
    [
        ("busy", [5], False),
        ('{__name__=~"calls_total|calls"}', [3, 4], False),
        ('max by (node) ({__name__=~"(?:calls_total|calls)"})', [4], False),
        ('max by (node) ({__name__=~"old_total|calls"})', [4], True),
        ('label_replace(at_host, "node", "$1", "host", "(.*)")', [7], False),
        ('label_join(at_host, "node", "", "host")', [7], False),
        # The label that is made hides a label of the samples.
        ('label_replace(wrong, "node", "$1", "host", "(.*)")', [8], False),
        ('label_replace(old_host, "node", "$1", "host", "(.*)")', [9], True),
        ("at_host * on (serial) group_left (node) node_of", [7], False),
        ("busy * on () group_left () old_factor", [10], True),
        ("busy or on (node) 0 * old_total", [5], True),
        # Prometheus remarks on these.
        ("1 + rate(calls[3s])", [1], False),
        ("histogram_quantile(0.5, broken_bucket)", [1], False),
    ],
)
def test_a_query_of_a_user_has_values_and_the_age_of_its_oldest_samples(
    prometheus: Prometheus, query: str, values: Sequence[float], is_old: bool
) -> None:
    series = until_complete(lambda: asked(prometheus, query), len(values), lambda one: one.age is not None)
    assert [(one.owner, one.problem) for one in series] == [("n-1", "")] * len(values)
    assert sorted(one.series.value or 0.0 for one in series) == values
    ages = [one.age or 0.0 for one in series]
    assert all((age > OLD_SECONDS / 2) == is_old for age in ages), ages
