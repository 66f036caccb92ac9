"""The forecast with a real Prometheus: a new leader reads the demand back, and the forecast is known at once.

No test waits for a window to pass: the exporter plays an earlier leader, with samples of the last minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import chart, objects, pools
from e2e.admission import wait_admits
from e2e.cluster import Cluster
from e2e.exporter import Exporter
from e2e.operator import OperatorProcess
from e2e.prometheus import Prometheus, Target
from e2e.site import Site

Json = dict[str, Any]

WINDOW = 10
PODS = 26
FORECAST = {"mode": "Act", "windowMinutes": WINDOW, "horizonSeconds": 1200}


@dataclass
class Stage:
    """A Prometheus, and how to start an operator that asks it."""

    cluster: Cluster
    site: Site
    exporter: Exporter
    prometheus: Prometheus
    config: Path

    @contextmanager
    def leading(self) -> Iterator[OperatorProcess]:
        """An operator that leads, and that Prometheus scrapes."""
        with OperatorProcess(self.cluster, flags=["--prometheus-config", str(self.config)]) as operator:
            operator.wait_leading()
            own = Target("operator", {"job": operator.identity}, address=f"127.0.0.1:{operator.port}")
            self.prometheus.watch([Target("earlier"), own])
            yield operator

    def earlier(self, pool: str, minutes: int) -> None:
        """Let an earlier leader have seen a demand that grew by two accelerators a minute, until half a minute ago."""
        now = int(time.time() * 1000) - 30_000
        text = "# TYPE computepool_demand_accelerators gauge\n"
        for minute in range(minutes, -1, -1):
            at, demand = now - 60_000 * minute, PODS - 2 * minute
            text += f'computepool_demand_accelerators{{pool="{pool}"}} {max(0, demand)} {at}\n'
        self.exporter.serve("earlier", text)
        self.prometheus.watch([Target("earlier")])
        self.prometheus.wait_for(f'computepool_demand_accelerators{{pool="{pool}"}}', 1)

    def wait_forecast(self, pool: str, reason: str) -> Json:
        """Wait until the pool's forecast has this reason; return it."""

        def turned(status: Json) -> Json | None:
            forecast = status.get("forecast", {})
            return dict(forecast) if forecast.get("reason") == reason else None

        return pools.wait_status(self.site.api, pool, turned, f"forecast {reason}", timeout=60)

    def wait_known(self, operator: OperatorProcess, pool: str) -> None:
        """Wait until this very operator shows a forecast; the status may be of the operator before."""
        wanted = f'computepool_forecast_full_seconds{{bound="likely",pool="{pool}"}}'
        operator.wait_for(lambda: wanted in operator.get("/metrics"), f"{wanted} in its metrics")


@pytest.fixture
def stage(cluster: Cluster, site: Site, tmp_path: Path) -> Iterator[Stage]:
    site.add_nodes("aws", 4, gpus=8)
    site.add_nodes("nebius", 1, gpus=8, taint=True)
    site.create(*objects.gpu_pods("s", PODS, labels={"app": "server"}))
    site.wait_bound(PODS)
    config = tmp_path / "source.yaml"
    with Exporter() as exporter, Prometheus(tmp_path / "prometheus", exporter) as prometheus, chart.installed(cluster):
        config.write_text(yaml.safe_dump({"url": prometheus.url, "intervalSeconds": 1, "timeoutSeconds": 2}))
        yield Stage(cluster, site, exporter, prometheus, config)


@contextmanager
def _pool(stage: Stage) -> Iterator[str]:
    saturation = {"pendingSeconds": 3600, "sustainSeconds": 3600, "clearSeconds": 0}
    admission = {"mode": "WhenSaturated"}
    with pools.pool(
        stage.site, ("aws", "nebius"), saturation=saturation, admission=admission, forecast=FORECAST
    ) as made:
        yield made["metadata"]["name"]


def test_a_new_leader_knows_the_forecast_at_once_and_opens_admission_before_the_primary_is_full(stage: Stage) -> None:
    stage.earlier(stage.site.namespace, WINDOW + 3)
    with _pool(stage) as pool:
        with stage.leading() as first:
            forecast = stage.wait_forecast(pool, "ForecastFull")
            assert forecast["opensAdmission"]
            assert 1 <= forecast["fullInMinutes"] <= 10
            pools.wait_admission(stage.site, pool, is_open=True)
            pools.wait_condition(stage.site, pool, "Saturated", "False")
            stage.prometheus.wait_for(f'computepool_demand_accelerators{{job="{first.identity}"}} == {PODS}', 1)
            wait_admits(stage.site, "nebius")
            # More than the primary has left: nobody waits, and the primary is filled first.
            stage.site.create(*objects.gpu_pods("new", 8, labels={"app": "new"}))
            assert stage.site.providers_of(stage.site.wait_bound(8, labels="app=new")) == {"aws": 6, "nebius": 2}
            stage.site.api.delete_all("pods", stage.site.namespace, labels="app=new")
            first.terminate()
        with stage.leading() as second:
            stage.wait_known(second, pool)
            stage.wait_forecast(pool, "ForecastFull")
            pools.wait_admission(stage.site, pool, is_open=True)


def test_a_history_that_is_too_short_or_missing_leaves_the_forecast_unknown(stage: Stage) -> None:
    stage.earlier(stage.site.namespace, WINDOW // 2)
    with _pool(stage) as pool, stage.leading() as operator:
        forecast = stage.wait_forecast(pool, "HistoryTooShort")
        assert not forecast.get("opensAdmission")
        # The answer is there, and it is no whole window.
        stage.prometheus.wait_for(f'computepool_demand_accelerators{{job="{operator.identity}"}} == {PODS}', 1)
        pools.wait_admission(stage.site, pool, is_open=False)
        assert "computepool_forecast_full_seconds{" not in operator.get("/metrics")
