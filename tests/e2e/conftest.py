"""What end-to-end tests share: one cluster for all, one operator for a module, and a site of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e import chart
from e2e.cluster import Cluster
from e2e.components import Options
from e2e.metrics_source import MetricsSource, metrics_source
from e2e.operator import OperatorProcess
from e2e.site import Site

LOG_LINES = 40


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The control plane that all tests share. It fails, and says what to run, where the binaries are missing."""
    # Kubelets that are heard of every second: a silence is noticed within seconds.
    with Cluster(options=Options(node_lease_seconds=4)) as shared:
        yield shared


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> Iterator[OperatorProcess]:
    """An operator that leads, and its release, for all tests of a module: they leave both as they are."""
    with _leading(cluster) as running:
        yield running


@pytest.fixture
def own_operator(cluster: Cluster) -> Iterator[OperatorProcess]:
    """An operator that leads, and its release, for one test: it may end them. Not beside `operator`."""
    with _leading(cluster) as running:
        yield running


@pytest.fixture(scope="module")
def metrics(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetricsSource]:
    """An exporter, a Prometheus and an operator that asks it, for all tests of a module. Not beside `operator`."""
    with metrics_source(cluster, tmp_path_factory.mktemp("metrics")) as shared:
        yield shared


@pytest.fixture
def site(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A namespace and nodes of the test's own, gone when it ends; where the test fails, the operator's log is shown."""
    own = Site(cluster)
    try:
        yield own
    finally:
        if "operator" in request.fixturenames:
            tail = request.getfixturevalue("operator").log().splitlines()[-LOG_LINES:]
            request.node.add_report_section("teardown", "operator's log", "\n".join(tail))
        own.close()


@contextmanager
def _leading(cluster: Cluster) -> Iterator[OperatorProcess]:
    with chart.installed(cluster), OperatorProcess(cluster) as running:
        running.wait_leading()
        yield running
