"""`computepool drill` on a real cluster: the dry run, live drills, and what is left of a drill that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from e2e import brisk, chart, command, objects, pools
from e2e.cluster import Cluster
from e2e.components import APISERVER
from e2e.operator import OperatorProcess
from e2e.site import Site

Json = dict[str, Any]
PROVIDERS = ("aws", "nebius", "crusoe")
PLANNED = "What happens"
BEGUN = "The drill of nebius has begun."
MOVED = ": Ready on "
ENDED = "The drill has ended, and the pool's spec is as before."


@contextmanager
def two_on_nebius(site: Site, **room: int) -> Iterator[Site]:
    """A full primary, two pods of a Deployment on nebius, and room on crusoe."""
    site.add_taken_node("aws", gpus=2)
    for name in ("nebius", "crusoe"):
        site.add_nodes(name, gpus=room.get(name, 4), taint=True)
    health = {"breaker": {"proveSeconds": 1, "backoffSeconds": 1}, "clearSeconds": 1}
    with pools.pool(site, PROVIDERS, health=health, failback={"minDwellSeconds": 0}):
        site.create(objects.gpu_deployment("chat", 2))
        pods = site.wait_bound(2, labels="app=chat")
        assert site.providers_of(pods) == {"nebius": 2}
        pools.wait_status(site.api, site.namespace, lambda status: status.get("burstPods") == 2, "two burst pods")
        pools.wait_condition(site, site.namespace, "Degraded", "False", timeout=60)
        yield site


@pytest.fixture
def burst(operator: OperatorProcess, site: Site) -> Iterator[Site]:
    with two_on_nebius(site):
        yield site


def drill(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return command.run("drill", site.namespace, *words, env=site.cluster.command_env())


def spec(site: Site) -> Json:
    return dict(site.api.get(pools.POOLS, site.namespace)["spec"])


def field(site: Site) -> Json | None:
    found = next(entry for entry in spec(site)["providers"] if entry["name"] == "nebius")
    return dict(found["drill"]) if "drill" in found else None


def versions(site: Site) -> dict[str, Any]:
    """The versions of the site's pods, the spec of the pool, and the taints of the nodes."""
    pods = {pod["metadata"]["uid"]: pod["metadata"]["resourceVersion"] for pod in site.pods()}
    taints = {node["metadata"]["name"]: node["spec"].get("taints") for node in site.nodes()}
    return {"pods": pods, "taints": taints, "spec": site.api.get(pools.POOLS, site.namespace)["metadata"]["generation"]}


def wait_closed(site: Site) -> None:
    brisk.wait_breaker(site, site.namespace, "nebius", "Closed")
    brisk.wait_quarantined(site, [])


class LiveDrill:
    """A live drill as a process of its own."""

    begun: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, site: Site, *words: str) -> None:
        yes = f"{site.namespace}/nebius"
        full = [command.COMMAND, "drill", site.namespace, "--lose", "nebius", "--live", "--yes", yes, *words]
        env = {**os.environ, **site.cluster.command_env(), "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(full, env=env, text=True, stdout=pipe, stderr=subprocess.STDOUT)
        self.begun.append(self.process)
        self.said = ""

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Read what it prints until it has printed this."""
        assert self.process.stdout is not None
        end = time.monotonic() + seconds
        while text not in self.said:
            line = self.process.stdout.readline()
            assert line, f"ended before {text!r}: {self.said}"
            self.said += line
            assert time.monotonic() < end, self.said

    def end(self, seconds: float = 60.0) -> int:
        """Wait until it has ended; return its exit code."""
        rest, _ = self.process.communicate(timeout=seconds)
        self.said += rest
        return self.process.returncode


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """End the drills that a test which failed has left."""
    yield
    while LiveDrill.begun:
        process = LiveDrill.begun.pop()
        process.kill()
        process.communicate()


# -- the dry run


def test_a_dry_run_says_what_would_move_and_writes_nothing(burst: Site) -> None:
    before = versions(burst)
    ended = drill(burst, "--lose", "nebius", "--output", "json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [pod["runsOn"] for pod in found["pods"]] == ["crusoe", "crusoe"]
    assert found["stranded"] == 0
    assert versions(burst) == before


# -- live


def test_a_live_drill_moves_what_was_planned_and_puts_all_back(burst: Site) -> None:
    before = spec(burst)
    live = LiveDrill(burst, "--wait-home")
    live.wait_for(BEGUN)
    pools.wait_condition(burst, burst.namespace, "Degraded", "False", "Drained", says="nebius")
    live.wait_for(MOVED)
    assert live.end(120) == 0, live.said
    assert "2 of 2 pods were Ready elsewhere" in live.said
    assert live.said.count(", planned +") == 2
    assert ENDED in live.said
    assert live.said.rstrip().endswith("nebius is as before.")
    assert spec(burst) == before
    assert burst.providers_of(burst.wait_bound(2, labels="app=chat")) == {"crusoe": 2}
    wait_closed(burst)

    def told(events: list[Json]) -> bool:
        mine = {event["reason"]: event["type"] for event in events if event["regarding"].get("name") == burst.namespace}
        return mine.get("DrillBegan") == mine.get("DrillEnded") == "Normal"

    burst.api.wait_for("events.events.k8s.io", told, what="the events of the drill", timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
@pytest.mark.parametrize("step", [PLANNED, BEGUN, MOVED], ids=["planned", "begun", "moved"])
def test_a_signal_at_any_step_puts_all_back(burst: Site, number: int, step: str) -> None:
    before = spec(burst)
    live = LiveDrill(burst)
    live.wait_for(step)
    live.process.send_signal(number)
    live.end()
    assert (ENDED in live.said) is (BEGUN in live.said), live.said
    assert spec(burst) == before
    wait_closed(burst)


def test_after_a_kill_the_drill_ends_by_itself_and_restore_removes_the_field(burst: Site) -> None:
    before = spec(burst)
    live = LiveDrill(burst, "--within", "1")
    live.wait_for(BEGUN)
    live.process.kill()
    live.end()
    brisk.wait_breaker(burst, burst.namespace, "nebius", "Open", "Drained")
    status = command.run("status", burst.namespace, env=burst.cluster.command_env()).stdout
    assert "A drill of nebius by " in status
    left = field(burst)
    assert left is not None
    # Nobody writes anything, and the provider is in use again.
    brisk.wait_breaker(burst, burst.namespace, "nebius", "Closed", timeout=120)
    assert field(burst) == left
    restored = command.run("drill", "--restore", burst.namespace, env=burst.cluster.command_env())
    assert "The drill of nebius" in restored.stdout, restored.stderr
    assert spec(burst) == before
    again = command.run("drill", "--restore", burst.namespace, env=burst.cluster.command_env())
    assert again.stdout.strip() == "There is no drill. Nothing was changed."
    wait_closed(burst)


def test_after_a_kill_restore_ends_the_drill_at_once(burst: Site) -> None:
    before = spec(burst)
    live = LiveDrill(burst)
    live.wait_for(MOVED)
    live.process.kill()
    live.end()
    restored = command.run("drill", "--restore", burst.namespace, env=burst.cluster.command_env())
    assert restored.returncode == 0, restored.stderr
    assert spec(burst) == before
    wait_closed(burst)


def test_edits_of_others_during_a_drill_stay(burst: Site) -> None:
    live = LiveDrill(burst)
    live.wait_for(BEGUN)
    providers = spec(burst)["providers"]
    prices = [{**entry, "pricePerAcceleratorHour": "2.50"} for entry in providers]
    # Another order of the standbys, too.
    changed = [prices[0], prices[2], prices[1]]
    burst.api.patch(pools.POOLS, burst.namespace, {"spec": {"providers": changed}})
    live.process.send_signal(signal.SIGINT)
    live.end()
    after = spec(burst)["providers"]
    assert after == [{key: value for key, value in entry.items() if key != "drill"} for entry in changed]


# -- refusals


def _confirmed(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return drill(site, "--lose", "nebius", "--live", "--yes", f"{site.namespace}/nebius", *words)


def test_two_drills_at_once_are_refused_and_so_is_a_drained_provider(burst: Site) -> None:
    live = LiveDrill(burst)
    live.wait_for(BEGUN)
    second = _confirmed(burst)
    assert (second.returncode, "is under way until" in second.stderr) == (1, True), second.stderr
    live.process.send_signal(signal.SIGINT)
    live.end()
    wait_closed(burst)
    command.run("drain", f"{burst.namespace}/nebius", env=burst.cluster.command_env())
    drained = _confirmed(burst)
    assert (drained.returncode, "is drained already" in drained.stderr) == (1, True), drained.stderr


def test_a_drill_that_would_strand_pods_is_refused_and_so_is_one_that_nobody_confirms(
    operator: OperatorProcess, site: Site
) -> None:
    with two_on_nebius(site, crusoe=1):
        before = versions(site)
        stranding = _confirmed(site)
        assert stranding.returncode == 1
        assert "1 pod would be stranded" in stranding.stderr
        unconfirmed = drill(site, "--lose", "nebius", "--live", "--allow-stranded")
        assert unconfirmed.returncode == 1
        assert "this is no terminal" in unconfirmed.stderr
        other = drill(site, "--lose", "nebius", "--live", "--allow-stranded", "--yes", "other/nebius")
        assert other.returncode == 1
        assert "does not name" in other.stderr
        assert versions(site) == before


# -- a stopped API server, on a cluster of its own


def test_while_the_api_server_is_away_an_interrupted_drill_waits_for_it_and_puts_all_back() -> None:
    with Cluster() as cluster, chart.installed(cluster), OperatorProcess(cluster) as operator:
        operator.wait_leading()
        with two_on_nebius(Site(cluster)) as site:
            _is_put_back_after_an_outage(cluster, site)


def _is_put_back_after_an_outage(cluster: Cluster, site: Site) -> None:
    before = spec(site)
    live = LiveDrill(site)
    live.wait_for(BEGUN)
    cluster.stop(APISERVER)
    live.process.send_signal(signal.SIGINT)
    live.wait_for("Waiting for the API server, to end the drill")
    cluster.start(APISERVER)
    live.end()
    assert ENDED in live.said
    assert spec(site) == before
    wait_closed(site)
