"""`computepool drill` on a real cluster: the dry run, live drills, and what is left of a drill that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from computepool.model.text import rfc3339
from e2e import brisk, chart, command, objects, pools
from e2e.cluster import Cluster
from e2e.components import APISERVER
from e2e.operator import OperatorProcess
from e2e.site import Site
from tests.e2e.terminal import Printed, Terminal

Json = dict[str, Any]
PROVIDERS = ("aws", "nebius", "crusoe")
PLANNED = "What happens"
BEGUN = "The drill of nebius has begun."
MOVED = ": Ready on "
ENDED = "The drill has ended, and the pool's spec is as before."


@contextmanager
def burst_pods(
    site: Site,
    *,
    pods: int = 2,
    crusoe: int = 8,
    ready_after: int | None = None,
    bound_within: int = 60,
    **spec: Any,
) -> Iterator[Site]:
    """A full primary, Ready pods of a Deployment on nebius, and room on crusoe.

    `ready_after`: seconds until Ready; `bound_within`: seconds until a pod on crusoe counts as not bound.
    """
    site.add_taken_node("aws", gpus=2)
    for name, gpus in (("nebius", 8), ("crusoe", crusoe)):
        site.add_nodes(name, gpus=gpus, taint=True)
    health = {"breaker": {"proveSeconds": 1, "backoffSeconds": 1}, "clearSeconds": 1, "sustainSeconds": 0}
    last = pools.provider(site, "crusoe", provisionTimeoutSeconds=bound_within)
    with pools.pool(site, (*PROVIDERS[:2], last), health=health, failback={"minDwellSeconds": 0}, **spec):
        site.create(objects.gpu_deployment("chat", pods, ready_after=ready_after))
        brisk.wait_settled(site, {"nebius": pods}, "app=chat")
        site.api.wait_for("pods", _all_ready, site.namespace, labels="app=chat", what="Ready pods")
        pools.wait_status(site.api, site.namespace, lambda status: status.get("burstPods") == pods, "the burst pods")
        pools.wait_condition(site, site.namespace, "Degraded", "False", timeout=60)
        yield site


def _nodes_of(site: Site, provider: str) -> list[str]:
    names = (node["metadata"]["name"] for node in site.nodes())
    return [name for name in names if provider in name]


def _all_ready(pods: list[Json]) -> bool:
    return all(map(objects.is_ready, pods))


@pytest.fixture
def burst(operator: OperatorProcess, site: Site) -> Iterator[Site]:
    with burst_pods(site):
        yield site


@pytest.fixture
def slow(operator: OperatorProcess, site: Site) -> Iterator[Site]:
    """The same, and a pod may leave once a minute: a drill lasts for more than a minute."""
    with burst_pods(site, failover={"perMinute": 1}):
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

    begun: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, site: Site, *words: str) -> None:
        yes = f"{site.namespace}/nebius"
        full = [command.COMMAND, "drill", site.namespace, "--lose", "nebius", "--live", "--yes", yes, *words]
        # Without a width of its own, a pipe's lines are not wrapped.
        inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        env = {**inherited, **site.cluster.command_env(), "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(full, env=env, stdout=pipe, stderr=subprocess.STDOUT)
        self.begun.append(self.process)
        assert self.process.stdout is not None
        self.printed = Printed(self.process.stdout.fileno())

    @property
    def said(self) -> str:
        """What was read of what it prints."""
        return self.printed.text

    def wait_for(self, text: str) -> None:
        """Read what it prints until it has printed this."""
        self.printed.wait_for(text)

    def end(self, seconds: float = 60.0) -> int:
        """Wait until it has ended; return its exit code."""
        self.printed.read_all(seconds)
        return self.process.wait(seconds)


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """End the drills that a test which failed has left."""
    yield
    while LiveDrill.begun:
        process = LiveDrill.begun.pop()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


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
    live = LiveDrill(burst)
    live.wait_for(BEGUN)
    pools.wait_condition(burst, burst.namespace, "Degraded", "False", "Drained", says="nebius")
    live.wait_for(MOVED)
    assert live.end(120) == 0, live.said
    assert "2 of 2 pods were Ready elsewhere" in live.said
    assert live.said.count(", planned +") == 2
    assert ENDED in live.said
    assert spec(burst) == before
    assert burst.providers_of(burst.wait_bound(2, labels="app=chat")) == {"crusoe": 2}
    wait_closed(burst)

    _wait_told(burst, {"DrillBegan": "Normal", "DrillEnded": "Normal"})


def _wait_told(site: Site, wanted: Mapping[str, str]) -> None:
    """Wait until the pool's events tell of a drill: exactly these, by reason and type, each once."""

    def told(events: list[Json]) -> bool:
        mine = [event for event in events if event["regarding"].get("name") == site.namespace]
        of_drill = sorted((event["reason"], event["type"]) for event in mine if event["action"] == "Drill")
        return of_drill == sorted(wanted.items())

    site.api.wait_for("events.events.k8s.io", told, what=f"the events {dict(wanted)}")


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, PLANNED), (signal.SIGINT, BEGUN), (signal.SIGINT, MOVED), (signal.SIGTERM, BEGUN)],
    ids=["interrupt-planned", "interrupt-begun", "interrupt-moved", "terminate-begun"],
)
def test_a_signal_at_any_step_puts_all_back(burst: Site, number: int, step: str) -> None:
    before = spec(burst)
    live = LiveDrill(burst)
    live.wait_for(step)
    live.process.send_signal(number)
    live.end()
    assert (ENDED in live.said) is (BEGUN in live.said), live.said
    assert spec(burst) == before
    wait_closed(burst)


def test_a_drill_that_nobody_ends_ends_by_itself_and_restore_removes_the_field(burst: Site) -> None:
    before = spec(burst)
    now = datetime.now(UTC)
    window = {"since": rfc3339(now - timedelta(seconds=2)), "until": rfc3339(now + timedelta(seconds=8)), "by": "alice"}
    at = [entry["name"] for entry in before["providers"]].index("nebius")
    patch = [{"op": "add", "path": f"/spec/providers/{at}/drill", "value": window}]
    burst.cluster.kubectl("patch", "cpool", burst.namespace, "--type=json", "-p", json.dumps(patch))
    brisk.wait_breaker(burst, burst.namespace, "nebius", "Open", "Drained")
    status = command.run("status", burst.namespace, env=burst.cluster.command_env()).stdout
    assert "A drill of nebius by alice lasts until" in status
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


def test_a_terminal_that_closes_sends_its_signal_more_than_once_and_all_is_put_back(slow: Site) -> None:
    before = spec(slow)
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    for _ in range(3):
        live.process.send_signal(signal.SIGHUP)
    assert live.end() == 130
    assert spec(slow) == before
    wait_closed(slow)


def test_a_pipe_that_nobody_reads_any_more_ends_nothing_but_the_output(slow: Site) -> None:
    before = spec(slow)
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    assert live.process.stdout is not None
    live.process.stdout.close()
    # The first pod leaves, and its line has no reader.
    slow.wait_bound(2, labels="app=chat")
    slow.api.wait_for(
        "pods",
        lambda pods: slow.providers_of(pods).get("crusoe") == 1,
        what="a pod on crusoe",
        namespace=slow.namespace,
    )
    assert field(slow) is not None
    live.process.send_signal(signal.SIGTERM)
    assert live.process.wait(60) == 130
    assert spec(slow) == before
    wait_closed(slow)


@contextmanager
def prompted(site: Site) -> Iterator[Terminal]:
    """A live drill in a terminal, at the time at which it waits for a person."""
    words = [command.COMMAND, "drill", site.namespace, "--lose", "nebius", "--live"]
    with Terminal(words, site.cluster.command_env()) as terminal:
        terminal.printed.wait_for(f"To go on, type {site.namespace}/nebius")
        yield terminal


def test_ctrl_c_at_the_prompt_ends_the_command_at_once_and_nothing_was_changed(slow: Site) -> None:
    before = versions(slow)
    with prompted(slow) as terminal:
        terminal.type("\x03")
        assert terminal.end() == 130
    assert versions(slow) == before


def test_a_person_types_the_name_of_the_provider_and_ctrl_c_ends_the_drill(slow: Site) -> None:
    before = spec(slow)
    with prompted(slow) as terminal:
        terminal.type(f"{slow.namespace}/nebius\n")
        terminal.printed.wait_for(BEGUN)
        terminal.type("\x03")
        assert terminal.end() == 130
    assert spec(slow) == before
    wait_closed(slow)


# -- real trouble during a drill


def test_a_real_failure_of_the_other_standby_stops_the_drill_and_the_provider_is_used_again(
    operator: OperatorProcess, site: Site
) -> None:
    # The second pod leaves once the replacement of the first is Ready.
    with burst_pods(site, ready_after=8, failover=brisk.FAILOVER):
        _stops_for_a_real_failure(site)


def _stops_for_a_real_failure(site: Site) -> None:
    before = spec(site)
    live = LiveDrill(site)
    live.wait_for(BEGUN)
    brisk.wait_breaker(site, site.namespace, "nebius", "Open", "Drained")
    site.break_nodes(_nodes_of(site, "crusoe"))
    assert live.end(120) == 3
    assert "The operator has stopped it: crusoe" in live.said
    assert spec(site) == before
    # All pods run where a provider works.
    site.api.wait_for(
        "pods",
        lambda pods: site.providers_of(pods).get("nebius") == 2,
        what="all pods back on nebius",
        namespace=site.namespace,
        timeout=120,
    )
    _wait_told(site, {"DrillBegan": "Normal", "DrillStopped": "Warning"})


def test_the_operator_alone_stops_a_drill_whose_command_is_gone_and_says_so(slow: Site) -> None:
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    brisk.wait_breaker(slow, slow.namespace, "nebius", "Open", "Drained")
    live.process.kill()
    live.end()
    slow.cordon(_nodes_of(slow, "crusoe"))
    slow.create(objects.gpu_deployment("more", 1))
    slow.wait_bound(1, labels="app=more", timeout=120)
    status = command.run("status", slow.namespace, env=slow.cluster.command_env()).stdout
    assert "was stopped: pods need nebius" in " ".join(status.split())
    assert field(slow) is not None


def test_a_pod_that_finds_no_place_because_of_a_constraint_that_is_not_modelled_stops_the_drill(
    operator: OperatorProcess, site: Site
) -> None:
    """The plan takes crusoe for a place. The pod may not run beside the pod that is there."""
    with burst_pods(site, pods=1, bound_within=2):
        (crusoe,) = _nodes_of(site, "crusoe")
        everywhere = [{"operator": "Exists"}]
        site.create(objects.gpu_pod("rival", gpus=0, labels={"app": "rival"}, nodeName=crusoe, tolerations=everywhere))
        apart = {"labelSelector": {"matchLabels": {"app": "rival"}}, "topologyKey": "kubernetes.io/hostname"}
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
        site.create(objects.gpu_deployment("shy", 1, affinity=affinity))
        brisk.wait_settled(site, {"nebius": 1}, "app=shy")
        site.api.wait_for("pods", _all_ready, site.namespace, labels="app=shy", what="a Ready pod")
        live = LiveDrill(site)
        live.wait_for(BEGUN)
        assert live.end(120) == 3, live.said
        assert "The operator has stopped it: pods need nebius" in live.said
        brisk.wait_settled(site, {"nebius": 1}, "app=shy")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("removed", "has changed or removed the field drill"),
        ("observe", "The pool is in mode Observe now"),
        ("deleted", "The pool was deleted."),
    ],
)
def test_what_others_do_to_the_pool_ends_the_drill(slow: Site, change: str, why: str) -> None:
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    pool = slow.namespace
    match change:
        case "removed":
            providers = [{k: v for k, v in each.items() if k != "drill"} for each in spec(slow)["providers"]]
            slow.api.patch(pools.POOLS, pool, {"spec": {"providers": providers}})
        case "observe":
            slow.api.patch(pools.POOLS, pool, {"spec": {"mode": "Observe"}})
        case _:
            slow.api.delete(pools.POOLS, pool)
    assert live.end() == 3
    assert why in live.said
    if change != "deleted":
        assert field(slow) is None


def test_a_manifest_that_is_applied_by_the_server_can_be_applied_again_after_a_drill(slow: Site) -> None:
    item = slow.api.get(pools.POOLS, slow.namespace)
    manifest = {key: item[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": slow.namespace}}

    def apply() -> None:
        text = json.dumps(manifest)
        slow.cluster.kubectl("apply", "--server-side", "--field-manager=gitops", "-f", "-", input=text)

    slow.cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-", input=json.dumps(manifest)
    )
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    live.process.send_signal(signal.SIGINT)
    live.end()
    manifest["spec"]["providers"][1]["pricePerAcceleratorHour"] = "2.50"
    apply()
    assert spec(slow)["providers"][1]["pricePerAcceleratorHour"] == "2.50"


def test_edits_of_others_during_a_drill_stay(slow: Site) -> None:
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    providers = spec(slow)["providers"]
    prices = [{**entry, "pricePerAcceleratorHour": "2.50"} for entry in providers]
    # Another order of the standbys, too.
    changed = [prices[0], prices[2], prices[1]]
    slow.api.patch(pools.POOLS, slow.namespace, {"spec": {"providers": changed}})
    live.process.send_signal(signal.SIGINT)
    live.end()
    after = spec(slow)["providers"]
    assert after == [{key: value for key, value in entry.items() if key != "drill"} for entry in changed]


# -- refusals


def _confirmed(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return drill(site, "--lose", "nebius", "--live", "--yes", f"{site.namespace}/nebius", *words)


def test_two_drills_at_once_are_refused_and_so_is_a_drained_provider(slow: Site) -> None:
    live = LiveDrill(slow)
    live.wait_for(BEGUN)
    second = _confirmed(slow)
    assert (second.returncode, "is under way until" in second.stderr) == (1, True), second.stderr
    undone = command.run("drain", f"{slow.namespace}/nebius", "--undo", env=slow.cluster.command_env())
    assert "It has a drill: end it with computepool drill --restore" in undone.stdout
    live.process.send_signal(signal.SIGINT)
    live.end()
    wait_closed(slow)
    command.run("drain", f"{slow.namespace}/nebius", env=slow.cluster.command_env())
    drained = _confirmed(slow)
    assert (drained.returncode, "is drained already" in drained.stderr) == (1, True), drained.stderr


def test_a_drill_that_would_strand_pods_is_refused_and_so_is_one_that_nobody_confirms(
    operator: OperatorProcess, site: Site
) -> None:
    with burst_pods(site, crusoe=1):
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


@contextmanager
def own_cluster() -> Iterator[tuple[Cluster, Site]]:
    with Cluster() as cluster, chart.installed(cluster), OperatorProcess(cluster) as operator:
        operator.wait_leading()
        with burst_pods(Site(cluster), failover={"perMinute": 1}) as site:
            yield cluster, site


def test_while_the_api_server_is_away_an_interrupted_drill_waits_for_it_and_puts_all_back() -> None:
    with own_cluster() as (cluster, site):
        before = spec(site)
        live = LiveDrill(site)
        live.wait_for(MOVED)
        cluster.stop(APISERVER)
        live.process.send_signal(signal.SIGINT)
        live.wait_for("Waiting for the API server, to end the drill")
        cluster.start(APISERVER)
        live.end()
        assert ENDED in live.said
        assert spec(site) == before
        wait_closed(site)


def test_while_the_api_server_is_away_a_second_interrupt_leaves_and_restore_ends_the_drill() -> None:
    with own_cluster() as (cluster, site):
        before = spec(site)
        live = LiveDrill(site)
        live.wait_for(BEGUN)
        cluster.stop(APISERVER)
        live.process.send_signal(signal.SIGINT)
        live.wait_for("A second Ctrl-C leaves.")
        live.process.send_signal(signal.SIGINT)
        assert live.end() == 130
        assert f"computepool drill --restore {site.namespace}" in live.said
        cluster.start(APISERVER)
        assert field(site) is not None
        assert "has ended" in command.run("drill", "--restore", env=site.cluster.command_env()).stdout
        assert spec(site) == before
        wait_closed(site)
