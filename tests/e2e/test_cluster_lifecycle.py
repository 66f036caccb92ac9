"""Clusters side by side, and what is left when one ends: nothing, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e import components, objects, procs, roster, state
from e2e.access import attach
from e2e.cluster import REPOSITORY, Cluster
from e2e.components import Options
from e2e.errors import ClusterError
from e2e.site import Site

# Seconds within which everything has to be gone.
SOON = 20.0
# With Leases that are renewed every second, a node's silence is noticed within seconds instead of a minute.
QUICK_TO_NOTICE = Options(
    node_lease_seconds=4,
    extra_flags={components.CONTROLLER_MANAGER: ["--node-monitor-grace-period=4s", "--node-monitor-period=500ms"]},
)
# A program that owns a cluster, prints its name, and waits. It accepts an interrupt even if the tests were started with
# interrupts ignored. It polls, because an interrupt just before a blocking read would go unnoticed.
OWNER = """
import json, select, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from e2e.cluster import Cluster
with Cluster() as cluster:
    print(json.dumps({"name": cluster.name, "folder": str(cluster.layout.folder)}), flush=True)
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        pass
"""


def test_two_clusters_run_side_by_side_and_know_nothing_of_each_other(cluster: Cluster) -> None:
    with Cluster(options=QUICK_TO_NOTICE) as other:
        other.api.create(objects.namespace("only-here"))
        assert cluster.api.find("namespaces", "only-here") is None
        assert not set(cluster.layout.ports) & set(other.layout.ports)
        silence_is_noticed(Site(other))
        folder, pids = other.layout.folder, refs(other)
    assert procs.wait_gone(pids, 0) == []
    assert not folder.exists()
    assert cluster.api.list("namespaces")


def silence_is_noticed(site: Site) -> None:
    """A node whose kubelet dies becomes Unknown, keeps its pods, and comes back with it; another goes on."""
    quiet, _ = site.add_nodes("aws", 2)
    site.create(*objects.gpu_pods("p", 2, gpus=8))
    site.wait_bound(2)
    site.silence([quiet])
    site.api.wait_for("nodes", lambda found: objects.condition_of(found[0], "Ready") == "Unknown", name=quiet)
    assert [node["metadata"]["name"] for node in site.nodes() if not objects.is_ready(node)] == [quiet]
    assert len(site.pods()) == 2
    site.revive([quiet])
    site.wait_schedulable([quiet])


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT], ids=lambda one: one.name)
def test_nothing_outlives_the_process_that_owns_a_cluster(signum: signal.Signals) -> None:
    with owner() as process:
        folder = Path(announced(process)["folder"])
        record = state.read_record(folder)
        assert record.supervisor
        everything = [record.supervisor, *record.components.values()]
        assert len(everything) == 1 + len(components.ALL)
        process.send_signal(signum)
        assert procs.wait_gone(everything, SOON) == []
    assert not folder.exists()


def test_a_killed_supervisor_takes_the_components_along_and_its_folder_is_swept() -> None:
    with owner() as process:
        folder = Path(announced(process)["folder"])
        record = state.read_record(folder)
        assert record.supervisor
        procs.send(record.supervisor, signal.SIGKILL)
        assert procs.wait_gone(list(record.components.values()), SOON) == []
        process.kill()
    roster.sweep()
    assert not folder.exists()


def test_a_kept_cluster_is_used_and_ended_by_other_processes(tmp_path: Path) -> None:
    run = command(tmp_path)
    assert "cluster 'kept' is up" in run("up", "--name", "kept")
    assert "kept" in run("list")
    assert "kube-system" in run("kubectl", "--name", "kept", "get", "namespaces")
    assert run("kubeconfig", "--name", "kept").strip() == str(tmp_path / "kept" / "kubeconfig")
    assert "runs already" in run("up", "--name", "kept", code=1)
    record = state.read_record(tmp_path / "kept")
    run("down", "--name", "kept")
    assert procs.wait_gone(list(record.components.values()), 0) == []
    assert run("list") == ""
    assert "no cluster 'kept' runs" in run("down", "--name", "kept", code=1)


def test_a_component_that_does_not_start_is_named_with_the_end_of_its_log() -> None:
    before = state.records().keys()
    wrong = Options(extra_flags={components.ETCD: ["--no-such-flag"]})
    with pytest.raises(ClusterError, match=r"etcd ended with \d+:\n(.|\n)*no-such-flag"):
        Cluster(options=wrong)
    assert state.records().keys() == before


def test_a_cluster_that_nobody_started_cannot_be_used_or_ended() -> None:
    for use in (attach, roster.end):
        with pytest.raises(ClusterError, match="no cluster 'nobodys' runs"):
            use("nobodys")


def refs(cluster: Cluster) -> list[procs.ProcessRef]:
    return [procs.ref(pid) for pid in cluster.pids().values()]


def owner() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def announced(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout
    said: dict[str, str] = json.loads(process.stdout.readline())
    return said


def command(folder: Path) -> Callable[..., str]:
    """The `python -m e2e` command, with its clusters in a folder of the test's own."""

    def run(*arguments: str, code: int = 0) -> str:
        env = os.environ | {"COMPUTEPOOL_E2E_STATE": str(folder)}
        ran = subprocess.run(
            [sys.executable, "-m", "e2e", *arguments],
            cwd=REPOSITORY,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        return ran.stdout + ran.stderr

    return run
