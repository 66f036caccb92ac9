"""`computepool audit` on a real cluster and a real Prometheus: what is idle, what holds memory, and what that costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from computepool.audit.activity import Measures, devices_by_pod
from computepool.audit.cluster import Cluster
from computepool.cli.audit.measure import measure
from computepool.prometheus.source import Source
from e2e import objects
from e2e.command import run
from e2e.exporter import Exporter
from e2e.prometheus import Prometheus, Target
from e2e.site import Site
from tests.builders import node
from tests.unit.audit.audited import cluster, owned

Json = dict[str, Any]

FIXTURES = Path(__file__).resolve().parents[1] / "exporters"
WINDOW = "5m"
SECONDS_BACK = 330
STEP = 30
LATE_STEP = 9
GIB = 1024


@dataclass
class Stage:
    """Pods whose accelerators do different things, and a Prometheus that has seen them for longer than the window."""

    site: Site
    prometheus: Prometheus
    exporter: Exporter

    def audit(self, *words: str) -> Json:
        """The audit of the cluster, as programs read it."""
        told = run("audit", "--window", WINDOW, "-o", "json", *words, env=self.site.cluster.command_env())
        told.check_returncode()
        return dict(json.loads(told.stdout))

    def workloads(self, data: Json, part: str) -> dict[str, Json]:
        """The site's workloads by name."""
        return {one["name"]: one for one in data[part]["workloads"] if one["namespace"] == self.site.namespace}


def deployed(site: Site, name: str, on: str, gpus: int = 1, resource: str = objects.ACCELERATOR) -> str:
    """A Deployment of one pod on that node; the pod's name."""
    selector = {"kubernetes.io/hostname": on}
    site.create(objects.gpu_deployment(name, 1, gpus=gpus, resource=resource, nodeSelector=selector))
    (pod,) = site.wait_bound(1, labels=f"app={name}")
    return str(pod["metadata"]["name"])


def dcgm(pod: str, namespace: str, gpu: int, busy: float, memory: float) -> list[tuple[str, float]]:
    """What dcgm-exporter says of a device, by names and labels of old."""
    labels = f'{{gpu="{gpu}",UUID="GPU-{pod}-{gpu}",Hostname="exporter-x",namespace="{namespace}",pod="{pod}"}}'
    return [(f"DCGM_FI_DEV_GPU_UTIL{labels}", busy), (f"DCGM_FI_DEV_FB_USED{labels}", memory)]


def dcgm_of_today(pod: str, namespace: str, gpu: int, busy: float, memory: float) -> list[tuple[str, float]]:
    """What dcgm-exporter says of a device today."""
    labels = f'{{gpu="{gpu}",UUID="GPU-{pod}-{gpu}",hostname="exporter-y",namespace="{namespace}",pod="{pod}"}}'
    return [
        (f"DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO{labels}", busy / 100),
        (f"DCGM_FI_DEV_GPU_UTIL_RATIO{labels}", busy / 100),
        (f"DCGM_FI_DEV_FB_USED_BYTES{labels}", memory * 1024 * 1024),
    ]


def amd(pod: str, namespace: str, gpu: int, busy: float, memory: float) -> list[tuple[str, float]]:
    """What AMD's device-metrics-exporter says of a device."""
    labels = f'{{gpu_id="{gpu}",gpu_partition_id="0",hostname="h",namespace="{namespace}",pod="{pod}"}}'
    return [(f"gpu_gfx_activity{labels}", busy), (f"gpu_used_vram{labels}", memory)]


def see(stage: Stage, samples: dict[str, Sequence[tuple[str, float]]], late: str) -> None:
    """Let Prometheus scrape these samples as if it had done so for the whole window: each has its time with it.

    `late`: a target that is there only at the end of the window.
    """
    begin = time.time() - SECONDS_BACK
    for step in range(SECONDS_BACK // STEP + 1):
        at = int((begin + step * STEP) * 1000)
        now_there = {target: lines for target, lines in samples.items() if target != late or step >= LATE_STEP}
        for target, lines in now_there.items():
            stage.exporter.serve(target, "".join(f"{series} {value} {at}\n" for series, value in lines))
        for target, lines in now_there.items():
            count = step - LATE_STEP if target == late else step
            # The scrape has labels of these names too, and keeps its own.
            stored = lines[0][0]
            if target != late:
                stored = stored.replace("namespace=", "exported_namespace=").replace("pod=", "exported_pod=")
            stage.prometheus.wait_for(f"count_over_time({stored}[1h]) > {count}", 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Exporter]]:
    """A Prometheus and what it scrapes."""
    with Exporter() as exporter, Prometheus(tmp_path_factory.mktemp("waste"), exporter) as running:
        yield running, exporter


@pytest.fixture
def stage(site: Site, source: tuple[Prometheus, Exporter]) -> Stage:
    return Stage(site, *source)


def test_what_is_idle_is_told_with_its_cost_and_what_was_not_seen_is_unknown(stage: Stage, tmp_path: Path) -> None:
    site = stage.site
    (first, second) = site.add_nodes("aws", 2, gpus=4)
    (third,) = site.add_nodes("nebius", gpus=4, resource="amd.com/gpu")
    pods = {
        "mixed": deployed(site, "mixed", first, gpus=3),
        "server": deployed(site, "server", second),
        "parked": deployed(site, "parked", third, gpus=2, resource="amd.com/gpu"),
        "unseen": deployed(site, "unseen", second),
        "young": deployed(site, "young", second),
        "late": deployed(site, "late", second),
    }
    site.create(objects.gpu_deployment("waits", 1, gpus=4))
    for name, pod in pods.items():
        if name != "young":
            long_ago = {"status": {"startTime": "2026-01-01T00:00:00Z"}}
            site.api.patch("pods", pod, long_ago, site.namespace, how="merge", subresource="status")
    space = site.namespace
    mixed, server, parked, young, late = (pods[name] for name in ("mixed", "server", "parked", "young", "late"))
    stage.prometheus.watch(
        [
            Target("first", {"node": first, "namespace": "gpu-operator", "pod": "exporter-1"}),
            Target("second", {"node": second, "namespace": "gpu-operator", "pod": "exporter-2"}),
            Target("third", {"node": third, "namespace": "amd", "pod": "exporter-3"}),
            Target("late", {"node": second}),
            Target("opencost", honor_labels=True),
        ]
    )
    stage.exporter.serve("opencost", f'node_gpu_hourly_cost{{node="{second}",instance="{second}"}} 3.5\n')
    see(
        stage,
        {
            "first": [
                *dcgm(mixed, space, 0, 94, 70 * GIB),
                *dcgm(mixed, space, 1, 0, 70 * GIB),
                *dcgm(mixed, space, 2, 0, 4),
            ],
            "second": [*dcgm_of_today(server, space, 0, 0, 60 * GIB), *dcgm_of_today(young, space, 1, 0, 4)],
            "third": [*amd(parked, space, 0, 0, 300), *amd(parked, space, 1, 0, 300)],
            "late": dcgm(late, space, 2, 0, 4),
        },
        late="late",
    )
    prices = tmp_path / "prices.yaml"
    prices.write_text('nebius: {amd.com/gpu: "1.25"}\n')
    site.wait_unschedulable(1, labels="app=waits")

    data = stage.audit("--prometheus", stage.prometheus.url, "--prices", str(prices))

    found = {
        name: [one[part] for part in ("held", "busy", "holdsMemory", "idle", "unknown")]
        for name, one in stage.workloads(data, "waste").items()
    }
    assert found == {
        "mixed": [3, 1, 1, 1, 0],
        "server": [1, 0, 1, 0, 0],
        "parked": [2, 0, 0, 2, 0],
        "unseen": [1, 0, 0, 0, 1],
        "young": [1, 0, 0, 0, 1],
        "late": [1, 0, 0, 0, 1],
    }
    assert stage.workloads(data, "waste")["parked"]["idlePerHour"] == "2.50"
    costs = {name: one["perHour"] for name, one in stage.workloads(data, "costs").items()}
    assert costs == {
        "mixed": None,
        "server": "3.50",
        "parked": "2.50",
        "unseen": "3.50",
        "young": "3.50",
        "late": "3.50",
    }
    by_provider = {one["provider"]: one for one in data["costs"]["providers"]}
    assert (by_provider["nebius"]["perHour"], by_provider["nebius"]["pricesFrom"]) == ("5.00", ["--prices"])
    (idle,) = (check for check in data["checks"] if check["name"] == "IdleAccelerators")
    assert not idle["passed"]
    assert "pods wait for 4" in idle["message"]
    whole = {one["provider"]: one["nodesWithoutUse"] for one in data["waste"]["providers"]}
    assert whole["nebius"] == 1


def test_an_audit_goes_on_without_a_prometheus_that_is_paused(stage: Stage, tmp_path: Path) -> None:
    stage.site.add_nodes("aws", gpus=4)
    deployed(stage.site, "web", stage.site.nodes()[0]["metadata"]["name"])
    config = tmp_path / "source.yaml"
    config.write_text(f"url: {stage.prometheus.url}\ntimeoutSeconds: 2\n")
    stage.prometheus.pause()
    try:
        data = stage.audit("--prometheus-config", str(config))
    finally:
        stage.prometheus.resume()
    (check,) = (check for check in data["checks"] if check["name"] == "MetricsRead")
    assert not check["passed"]
    assert "no answer within 2 s" in check["message"]
    assert data["waste"] is None
    assert data["losses"]


BUSY = {
    "dcgm-exporter-3.3.5": 94,
    "dcgm-exporter-4.4.0": 91.2345,
    "dcgm-exporter-4.4.0-mig": 87.41,
    "dcgm-exporter-4.8.3": 91.2345,
    "dcgm-exporter-4.8.3-mig": 87.41,
    "dcgm-exporter-4.9.0": 91.2345,
    "dcgm-exporter-4.9.0-mig": 87.41,
    "amd-device-metrics-exporter-1.2.1": 88,
    "amd-device-metrics-exporter-1.5.2": 88,
    "amd-device-metrics-exporter-1.5.2-dpx": 88,
    "amd-device-metrics-exporter-1.5.2-vf": 88,
}
MEMORY = {"dcgm": (36_900, 75_363), "amd": (176_310,)}
"""What the busy device holds, in MiB; on a parted NVIDIA device less."""
SCRAPES = {
    "monitor": {"namespace": "gpu", "pod": "exporter-1"},
    "annotations": {"kubernetes_namespace": "gpu", "kubernetes_pod_name": "exporter-1"},
}


def test_each_version_of_the_exporters_is_understood_however_it_is_scraped(
    source: tuple[Prometheus, Exporter],
) -> None:
    prometheus, exporter = source
    for name in BUSY:
        exporter.serve(name, (FIXTURES / f"{name}.txt").read_text())
    prometheus.watch(
        Target(name, {"case": f"{name}/{way}", **labels}) for name in BUSY for way, labels in SCRAPES.items()
    )
    prometheus.wait_for('up == 1 and on (case) {case!=""}', len(BUSY) * len(SCRAPES))
    nodes = [node("gpu-node-a"), node("amd-node-a")]
    for name, active in BUSY.items():
        pod = owned("llama-0", on="amd-node-a" if name.startswith("amd") else "gpu-node-a", namespace="inference")
        for way in SCRAPES:
            measures = _measured(cluster(nodes, [pod]), prometheus, f"{name}/{way}")
            assert measures.problem == ""
            (device,) = devices_by_pod(measures)[pod.uid]
            assert device.active == pytest.approx(active), (name, way)
            assert device.memory in ((None,) if name.endswith("vf") else MEMORY[name.partition("-")[0]]), (name, way)


def _measured(found: Cluster, prometheus: Prometheus, case: str) -> Measures:
    return asyncio.run(measure(found, Source(url=prometheus.url, enforced_labels={"case": case}), 300.0))
