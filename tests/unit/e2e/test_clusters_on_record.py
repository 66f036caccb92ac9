"""What is recorded of clusters, and how what a killed one left behind is told from one that runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import ports, procs, state


def test_a_process_is_not_taken_for_a_later_one_with_its_id() -> None:
    me = procs.ref(os.getpid())
    assert procs.is_alive(me)
    assert not procs.is_alive(procs.ProcessRef(me.pid, "at another time"))


def test_a_process_that_ended_but_was_not_reaped_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        it = procs.ref(child.pid)
        assert procs.send(it, signal.SIGKILL)
        assert procs.wait_gone([it], 10) == []
        assert not procs.send(it, signal.SIGKILL)


def test_a_cluster_whose_owner_died_before_it_had_a_supervisor_does_not_run() -> None:
    gone = procs.ProcessRef(os.getpid(), "at another time")
    assert not state.is_running(state.ClusterRecord("a", [], owner=gone))
    assert state.is_running(state.ClusterRecord("a", [], owner=procs.ref(os.getpid())))


def test_a_kept_cluster_runs_as_long_as_its_supervisor() -> None:
    gone, alive = procs.ProcessRef(os.getpid(), "at another time"), procs.ref(os.getpid())
    assert state.is_running(state.ClusterRecord("a", [], owner=gone, supervisor=alive))
    assert not state.is_running(state.ClusterRecord("a", [], owner=alive, supervisor=gone))


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    record = state.ClusterRecord(
        "a", [20_001], owner=procs.ref(os.getpid()), components={"etcd": procs.ref(os.getppid())}
    )
    state.write_record(tmp_path, record)
    assert state.read_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.json"]


def test_ports_promised_to_others_are_not_chosen() -> None:
    free = set(ports.choose(3, set()))
    everything_else = set(range(ports.FIRST, ports.LAST)) - free
    assert set(ports.choose(3, everything_else)) == free


def test_ports_that_somebody_listens_on_are_not_chosen() -> None:
    free, busy = ports.choose(2, set())
    everything_else = set(range(ports.FIRST, ports.LAST)) - {free, busy}
    with socket.create_server(("127.0.0.1", busy)):
        assert ports.choose(1, everything_else) == [free]


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_the_folder_of_all_clusters_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=mode)
    monkeypatch.setenv("COMPUTEPOOL_E2E_STATE", str(folder))
    assert state.root() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
