"""Every page under docs/: its commands, its tables and its manifests, on a cluster on which the README was followed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e import chart, objects, pools
from e2e.cluster import Cluster
from e2e.exporter import Exporter
from e2e.operator import OperatorProcess
from e2e.prometheus import Prometheus, Target
from tests.e2e.reader import NAMESPACE, POOL, Reader, device_plugin, example_nodes, metrics_documented
from tests.unit.docs.blocks import PAGES, REPOSITORY, UNINSTALL, UPGRADE

Json = dict[str, Any]

PODS, AT_HOME, QUEUE = 12, 8, 9
SIGNALS, FORECAST = (REPOSITORY / f"docs/{name}.md" for name in ("signals", "forecast"))


@dataclass(frozen=True)
class Home:
    """A cluster with the README's pool in Enforce, pods on a standby, and a source of metrics."""

    reader: Reader
    operator: OperatorProcess

    @property
    def status(self) -> Json:
        """The pool's status."""
        return dict(self.reader.cluster.api.get(pools.POOLS, POOL)["status"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """On a cluster of its own: the names in the documents are fixed."""
    with Cluster() as cluster, Exporter() as exporter:
        cluster.api.create_many([*example_nodes(AT_HOME), device_plugin()])
        cluster.api.wait_for("nodes", lambda found: all(map(objects.is_schedulable, found)), what="nodes to be usable")
        reader = Reader(cluster, tmp_path_factory.mktemp("tools"))
        reader.follow("Install")
        with Prometheus(tmp_path_factory.mktemp("prometheus"), exporter) as prometheus:
            reader.source_url = prometheus.url
            reader.run(reader.commands("A first signal", SIGNALS)[0])
            flags = chart.source_flags(cluster)
            with OperatorProcess(cluster, flags=flags) as operator:
                operator.wait_leading()
                reader.let_pod_be(operator.identity, operator.log_file, flags)
                reader.follow("Mark the standby's nodes", "Let DaemonSets onto the standby's nodes")
                reader.follow("Apply the pool and a workload", "From Observe to Enforce")
                _wait_burst(cluster)
                _let_servers_be_scraped(cluster, exporter, prometheus)
                yield Home(reader, operator)


def _wait_burst(cluster: Cluster) -> None:
    away = PODS - AT_HOME
    pools.wait_status(cluster.api, POOL, lambda status: status.get("burstPods") == away, f"{away} pods on a standby")


def _let_servers_be_scraped(cluster: Cluster, exporter: Exporter, prometheus: Prometheus) -> None:
    metric = "vllm:num_requests_waiting_by_reason"
    exporter.serve("chat", f'{metric}{{engine="0",reason="capacity"}} {QUEUE}\n')
    servers = [pod["metadata"]["name"] for pod in cluster.api.list("pods", NAMESPACE, labels="app=chat")]
    prometheus.watch(Target("chat", {"namespace": NAMESPACE, "pod": name}) for name in servers)
    prometheus.wait_for(metric, len(servers))


def _name(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (UNINSTALL, UPGRADE)], ids=_name)
def test_its_commands_run_its_tables_are_printed_and_its_manifests_are_taken(home: Home, page: Path) -> None:
    home.reader.read(page)


def test_the_first_signal_has_the_value_that_the_servers_have(home: Home) -> None:
    _, add, ask, _, remove = home.reader.commands("A first signal", SIGNALS)
    home.reader.run(add)
    said = home.reader.run(ask)
    assert f"Value {QUEUE} requests, at `enter` or beyond." in said
    # The signal is about the servers on the primary.
    assert f"{AT_HOME} of {AT_HOME} pods have a current sample." in said
    _wait_signals(home.reader, [f"{QUEUE} requests"])
    home.reader.run(remove)
    _wait_signals(home.reader, [])


def _wait_signals(reader: Reader, values: list[str]) -> None:
    def turned(status: Json) -> bool:
        return [signal["value"] for signal in status.get("signals", [])] == values

    pools.wait_status(reader.cluster.api, POOL, turned, f"signals with the values {values}", timeout=60)


def test_a_forecast_is_unknown_at_first(home: Home) -> None:
    patch, look = (block for block in home.reader.all_commands(FORECAST))
    home.reader.run(patch)

    def turned(status: Json) -> bool:
        return bool(status.get("forecast", {}).get("reason") == "HistoryTooShort")

    pools.wait_status(home.reader.cluster.api, POOL, turned, "a forecast that is Unknown")
    assert "Forecast (HistoryTooShort): " in home.reader.run(look)


def test_the_labels_of_the_metrics_are_those_of_the_table(home: Home) -> None:
    documented = metrics_documented()
    samples = [one for family in text_string_to_metric_families(home.operator.metrics()) for one in family.samples]
    assert {"computepool_burst_pods", "computepool_bursts_total"} <= {sample.name for sample in samples}
    for sample in samples:
        name = sample.name if sample.name in documented else re.sub("_(bucket|count|sum)$", "", sample.name)
        assert sample.labels.keys() - {"le"} == documented[name], sample.name


def test_after_an_uninstall_pods_run_and_pools_stay_until_they_are_removed(home: Home) -> None:
    """The last test: it takes away what the others need."""
    api = home.reader.cluster.api
    home.operator.terminate()
    release, *leftovers, definition = home.reader.all_commands(UNINSTALL)
    home.reader.run(release)
    for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies"):
        api.wait_for(f"{kind}.admissionregistration.k8s.io", _are_gone, what=f"no {kind} of the release")
    assert len([pod for pod in api.list("pods", NAMESPACE) if objects.is_bound(pod)]) == PODS
    for block in leftovers:
        # There was none: what it does to those that a failed Job leaves is tried by test_cleanup.
        home.reader.run(block)
    assert api.find(pools.POOLS, POOL) is not None
    home.reader.run(definition)
    api.wait_for("customresourcedefinitions.apiextensions.k8s.io", _are_gone, what="no definition")


def _are_gone(found: list[Json]) -> bool:
    return not [one for one in found if one["metadata"]["name"].startswith("computepool")]
