"""What tests of signals share: an exporter, a real Prometheus that scrapes it, and an operator that asks that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e import chart, pools
from e2e.cluster import Cluster
from e2e.exporter import Exporter
from e2e.operator import OperatorProcess
from e2e.prometheus import Prometheus, Target
from e2e.site import Site

Json = dict[str, Any]


@dataclass
class MetricsSource:
    """An exporter, a Prometheus and an operator, for all tests of a module."""

    exporter: Exporter
    prometheus: Prometheus
    operator: OperatorProcess

    def serve(self, texts: Mapping[str, str], label: str) -> None:
        """Let Prometheus scrape these targets and no others; the scrape gives each its name as that label."""
        self.revive()
        for name, text in texts.items():
            self.exporter.serve(name, text)
        self.watch(Target(name, {label: name}) for name in texts)
        self.prometheus.wait_for(f"last_over_time(up[3s]) == 1 and on ({label}) up", len(texts))

    def watch(self, targets: Iterable[Target]) -> None:
        """Let Prometheus scrape these targets and no others."""
        self.prometheus.watch(targets)

    def revive(self) -> None:
        """Let Prometheus go on if it was paused, and start another in its place if it was ended."""
        if self.prometheus.running:
            self.prometheus.resume()
        else:
            self.prometheus = Prometheus(self.prometheus.folder, self.exporter, port=self.prometheus.port)

    def wait_verdict(
        self,
        site: Site,
        pool: str,
        key: str,
        verdict: str,
        reason: str | None = None,
        *,
        on: bool | None = None,
        value: str | None = None,
    ) -> Json:
        """Wait until the pool's status has this verdict on a signal; return it. None: any reason, and any value."""

        def turned(status: Json) -> Json | None:
            for signal in status.get("signals", []):
                right = signal["key"] == key and signal["verdict"] == verdict
                fits = reason in (None, signal["reason"]) and value in (None, signal["value"])
                if right and fits and on in (None, signal["on"]):
                    return dict(signal)
            return None

        return pools.wait_status(site.api, pool, turned, f"{key}={verdict} {reason or ''}", timeout=60)


@contextmanager
def metrics_source(cluster: Cluster, folder: Path) -> Iterator[MetricsSource]:
    """A source and an operator that leads, until the block ends; the chart is installed meanwhile."""
    config = folder / "source.yaml"
    with Exporter() as exporter, Prometheus(folder / "prometheus", exporter) as prometheus:
        config.write_text(yaml.safe_dump({"url": prometheus.url, "intervalSeconds": 1, "timeoutSeconds": 2}))
        flags = ["--prometheus-config", str(config)]
        with chart.installed(cluster), OperatorProcess(cluster, flags=flags) as operator:
            operator.wait_leading()
            shared = MetricsSource(exporter, prometheus, operator)
            yield shared
        shared.prometheus.close()
