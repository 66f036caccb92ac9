"""`make demo` as a person runs it: its report, its exit code, and that nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e2e import binaries, procs, state
from e2e.cluster import REPOSITORY

Json = dict[str, Any]
# On a machine that does nothing else it takes a minute.
SECONDS = 420


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this demo's cluster is recorded: beside a demo that a person keeps, not in its way."""
    return tmp_path_factory.mktemp("clusters")


@pytest.fixture(scope="module")
def told(home: Path) -> Iterator[tuple[str, Json]]:
    """What a demo that is to be kept prints and reports; its cluster is up until the module's tests are over."""
    report = home / "report.json"
    ran = _run("e2e.demo", "--report", str(report), home=home, KEEP="1")
    try:
        assert ran.returncode == 0, ran.stdout + ran.stderr
        yield ran.stdout, msgspec.json.decode(report.read_bytes())
    finally:
        _run("e2e", "down", "--name", "demo", home=home)


def test_all_that_overflowed_runs_on_the_standbys_and_came_there_both_ways(told: tuple[str, Json]) -> None:
    _, report = told
    assert report["pods"] == {"aws": 16, "nebius": 16, "crusoe": 8}
    assert report["overflow_pods"] == report["burst_pods"] == 24
    assert report["by"]["patch"] > 0
    # The last sixteen are created when admission has been open for a while.
    assert report["by"]["admission"] >= 16
    assert sum(report["by"].values()) == 24
    assert report["held_pods"] == 1


def test_nothing_is_restarted_or_replaced_on_the_way(told: tuple[str, Json]) -> None:
    _, report = told
    assert (report["restarts"], report["deleted"]) == (0, 0)


def test_every_time_is_measured_and_in_order(told: tuple[str, Json]) -> None:
    _, report = told
    for name in ("burst_ms", "observed_ms", "bound_ms"):
        spread = report[name]
        assert 0 < spread["p50"] <= spread["p99"] <= spread["max"], name
        assert name in report["method"]


def test_the_events_tell_of_the_pool_and_of_each_pod_that_was_patched(told: tuple[str, Json]) -> None:
    _, report = told
    of_pool = {event["reason"] for event in report["events"] if event["about"] == "ComputePool/inference"}
    assert {"Reconciled", "PodsOverflow", "PrimarySaturated"} <= of_pool
    on_pods = [event for event in report["events"] if event["about"].startswith("Pod/chat-")]
    # While nebius is on trial more pods come, and are patched.
    sent_on = {event["about"] for event in on_pods if event["reason"] == "PrimarySaturated"}
    assert len(sent_on) >= report["by"]["patch"]
    moved = {event["about"] for event in on_pods if event["reason"] in ("LeavesProvider", "LeavesSickNode")}
    assert len(moved) == 16
    assert {"ProviderSilent", "LeavesProvider", "ComesHome"} <= of_pool
    assert all(event["time"] and event["message"] for event in report["events"])


def test_all_pods_of_the_failed_provider_run_elsewhere_soon_after(told: tuple[str, Json]) -> None:
    _, report = told
    failover = report["failover"]
    assert (failover["provider"], failover["pods"], failover["moves"]) == ("nebius", 16, 16)
    assert failover["to"] == {"crusoe": 16}
    assert failover["at_once"] <= failover["at_once_limit"] == 8
    for name in ("failover_ms", "silence_ms"):
        spread = report[name]
        assert 0 < spread["p50"] <= spread["p99"] <= spread["max"], name
    # The pool's silentSeconds are part of the one and not of the other.
    assert report["silence_ms"]["p50"] >= report["failover_ms"]["p50"] + 4000


def test_all_pods_come_home_within_the_rate_and_stay(told: tuple[str, Json]) -> None:
    _, report = told
    failback = report["failback"]
    assert failback["all_home"]
    assert (failback["moves"], failback["flaps"]) == (26, 0)
    assert failback["at_once"] <= failback["at_once_limit"] == 2
    assert failback["in_a_minute"] <= failback["in_a_minute_limit"] == 30
    # With the pod that had waited for the primary.
    assert report["pods_at_end"] == {"aws": 43}
    assert (report["moves"], report["pdb_violations"]) == (42, 0)
    assert report["succeeded"]


def test_the_timeline_is_one_page_beside_the_report(told: tuple[str, Json], home: Path) -> None:
    page = (home / "report.html").read_text(encoding="utf-8")
    assert "all as it should be" in page
    for text in (
        "nebius fails",
        "breaker open: ProviderSilent",
        "16 pods moved from nebius to crusoe",
        "enter at 5",
        "</html>",
    ):
        assert text in page


def test_the_story_is_told_with_a_table_events_and_explanations(told: tuple[str, Json]) -> None:
    text, _ = told
    assert "nebius    standby      2   16/16" in text
    assert "PrimarySaturated" in text
    assert "never leaves the primary" in text
    assert "The heartbeats of the provider's nodes have stopped together while other nodes' heartbeats go on." in text
    assert text.count("$ computepool status") == 5


def test_coming_home_saves_money(told: tuple[str, Json]) -> None:
    text, _ = told
    (costs,) = re.findall(r"The pool cost (\S+) an hour with pods on standbys, and costs (\S+) now\.", text)
    away, home = map(float, costs)
    # 16 pods at home and 26 on standbys before, and then all of them at home with the pod that had waited.
    assert home == pytest.approx(43 * 2.10)
    assert home < away


def test_admission_opens_for_a_queue_before_a_pod_waits_and_closes_again(told: tuple[str, Json]) -> None:
    text, report = told
    queue = report["queue"]
    assert queue["pods"] == {"aws": 5, "nebius": 3}
    assert (queue["opened"], queue["waited"], queue["closed"]) == (True, 0, True)
    assert queue["longest"] > 5
    assert "$ kubectl patch cpool inference --type=merge --patch-file=e2e/demo/50-queue.yaml" in text
    assert "Signals that are on: queue." in text
    assert "saturation/queue  Off      0 requests" in text
    reasons = {event["reason"] for event in report["events"] if event["about"] == "ComputePool/inference"}
    assert "MetricPressure" in reasons


def test_a_kept_cluster_is_used_and_ended_as_it_says(told: tuple[str, Json], home: Path) -> None:
    text, _ = told
    kubeconfig = _after(text, "export KUBECONFIG=")
    assert _after(text, "alias kubectl=") == str(binaries.find_all()["kubectl"])
    shown = subprocess.run(
        [binaries.find_all()["kubectl"], "get", "cpool", "--kubeconfig", kubeconfig],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines()[1].split()[:3] == ["inference", "Enforce", "aws"]
    left = _processes(home)
    assert {"kube-apiserver", "operator-0", "operator-1"} <= left.keys()

    ended = _run("e2e", *_after(text, "-m e2e ").split(), home=home)
    assert ended.returncode == 0, ended.stderr
    assert procs.wait_gone(list(left.values()), timeout=10) == []


def test_an_interrupt_ends_everything(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "e2e.demo", "--report", str(tmp_path / "report.json")],
        cwd=REPOSITORY,
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "kubectl scale" in line:
                break
        left = _processes(tmp_path)
        assert "operator-1" in left
        demo.send_signal(signal.SIGINT)
        rest = demo.stdout.read()
        assert demo.wait(SECONDS) == 130
    assert "nothing is left running" in rest
    assert procs.wait_gone(list(left.values()), timeout=10) == []


def test_help_teaches() -> None:
    shown = _run("e2e.demo", "--help", home=REPOSITORY)
    assert shown.returncode == 0
    assert "KEEP=1" in shown.stdout
    assert "make control-plane" in shown.stdout


def _run(module: str, *arguments: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env=_environment(home) | env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {"COMPUTEPOOL_E2E_STATE": str(home), "KEEP": ""}


def _processes(home: Path) -> dict[str, procs.ProcessRef]:
    """All processes of the one cluster that is recorded there."""
    (record,) = (state.read_record(path.parent) for path in home.glob(f"*/{state.RECORD}"))
    supervisor = {"supervisor": record.supervisor} if record.supervisor else {}
    return record.components | supervisor


def _after(text: str, start: str) -> str:
    """The rest of the line that has this in it."""
    return text.rpartition(start)[2].partition("\n")[0]
