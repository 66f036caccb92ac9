"""Evictions and taints against the real API server, with the operator's own rights and under its guard."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from computepool.act.evictor import Evictor, Moved
from computepool.act.tainter import Tainter
from computepool.act.write_access import WriteAccess
from computepool.decide.plan import Move
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.runtime import Runtime
from computepool.model.cluster import Node
from computepool.model.moves import MoveKind, PodMove
from computepool.model.reasons import Reason
from computepool.observe.decode import Records
from e2e import chart, objects
from e2e.cluster import Cluster
from e2e.site import Site

APP = {"app": "web"}


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Cluster]:
    with chart.installed(cluster):
        yield cluster


@pytest.fixture
def running(release: Cluster, site: Site) -> Site:
    """Three pods of a Deployment that run."""
    site.add_nodes("nebius", gpus=8)
    site.create(objects.gpu_deployment("web", 3))
    site.api.wait_for(
        "pods",
        lambda pods: len(pods) == 3 and all(objects.condition_of(pod, "Ready") == "True" for pod in pods),
        site.namespace,
        what="three ready pods",
    )
    return site


class Leading:
    """A fence that is open."""

    def check(self) -> None:
        return


@dataclass
class Told:
    """What the mover told, by pod uid."""

    started: list[str] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    came_to_nothing: list[str] = field(default_factory=list)

    def start(self, _pool: str, move: PodMove) -> None:
        self.started.append(move.pod.uid)

    def recorded(self, uid: str) -> None:
        assert uid in self.started

    def asked(self, uid: str) -> None:
        assert uid in self.started

    def let_go(self, uid: str, _at: float) -> None:
        self.evicted.append(uid)

    def refused(self, uid: str, _at: float) -> None:
        self.held.append(uid)

    def dropped(self, uid: str) -> None:
        self.came_to_nothing.append(uid)

    def failed(self, uid: str) -> None:
        self.came_to_nothing.append(uid)


@asynccontextmanager
async def _operator(site: Site) -> AsyncIterator[ApiClient]:
    config = site.cluster.kubeconfig_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)
    async with ApiClient(await load_access(str(config))) as client:
        yield client


def _moved(site: Site, told: Told, *, release: bool = False) -> Moved:
    """Move all pods of the site, as the operator would."""
    records = Records()
    pods = [records.pod(json.dumps(pod).encode()) for pod in site.pods() if "deletionTimestamp" not in pod["metadata"]]
    moves = [Move(pod, "nebius", "crusoe", MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE, release=release) for pod in pods]

    async def scenario() -> Moved:
        async with _operator(site) as client:
            mover = Evictor(
                WriteAccess(client, Leading(), Runtime(rng=random.Random(1)), "me"),
                told,
                leaving=lambda _uid: False,
            )
            outcome = await mover.move(mover.start("pool", moves), why_not=lambda _move: None)
            await mover.settle()
            return outcome

    return asyncio.run(scenario())


def _budget(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": APP}, **spec},
    }


def _wait_counted(site: Site, allowed: int, *names: str) -> None:
    site.api.wait_for(
        "poddisruptionbudgets.policy",
        lambda found: (
            len(found) == len(names)
            and all(one.get("status", {}).get("disruptionsAllowed") == allowed for one in found)
            and all(one["status"].get("currentHealthy") == 3 for one in found)
        ),
        site.namespace,
        what="the budgets to be counted",
    )


def test_pods_that_no_budget_holds_are_let_go_and_made_again(running: Site) -> None:
    before, told = {pod["metadata"]["uid"] for pod in running.pods()}, Told()
    outcome = _moved(running, told)
    assert len(outcome.done) == 3
    assert set(told.evicted) == before
    running.api.wait_for(
        "pods",
        lambda pods: len(pods) == 3 and not before & {pod["metadata"]["uid"] for pod in pods},
        running.namespace,
        what="three other pods",
    )


def test_a_budget_lets_as_many_go_as_it_allows_and_refuses_the_others(release: Cluster, site: Site) -> None:
    site.add_nodes("nebius", gpus=8)
    # Without a controller, nobody gives the budget back what was let go.
    site.create(*objects.gpu_pods("web", 3, labels=APP))
    site.create(_budget("web", minAvailable=2))
    _wait_counted(site, 1, "web")
    told = Told()
    outcome = _moved(site, told)
    assert (len(outcome.done), len(outcome.refused)) == (1, 2)
    assert len(told.held) == 2
    assert all("disruption budget web" in error.causes[0].message for _, error in outcome.refused)


def test_two_budgets_on_one_pod_refuse_it_for_good(running: Site) -> None:
    running.create(_budget("web", maxUnavailable=3), _budget("too", maxUnavailable=3))
    _wait_counted(running, 3, "web", "too")
    outcome = _moved(running, Told())
    assert len(outcome.refused) == 3
    assert "more than one PodDisruptionBudget" in outcome.refused[0][1].message


def test_without_the_right_to_delete_a_release_fails_and_says_why(running: Site) -> None:
    outcome = _moved(running, Told(), release=True)
    assert len(outcome.failed) == 3
    assert "cannot delete resource" in str(outcome.failed[0][1])


def test_with_the_right_a_pod_that_is_not_ready_is_released_and_one_that_is_ready_is_not(running: Site) -> None:
    keep = {**chart.NO_OPERATOR_PODS, "crds.keep": False}
    name = running.pods()[0]["metadata"]["name"]
    running.api.patch("pods", name, {"metadata": {"finalizers": ["e2e.test/hold"]}}, running.namespace)
    chart.install(running.cluster, values={**keep, "failover.releaseLostPods": True})
    try:
        chart.until(lambda: _deletes_are_guarded(running), "the right to delete")
        # As the node controller leaves pods of a lost node.
        not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]}}
        running.api.patch("pods", name, not_ready, running.namespace, subresource="status")
        outcome = _moved(running, Told(), release=True)
        assert [move.pod.name for move in outcome.done] == [name]
        assert {str(error.message).partition("denied request: ")[2] for _, error in outcome.failed} == {
            "the operator may only delete pods on lost nodes; this pod is ready"
        }
        assert "deletionTimestamp" in running.api.get("pods", name, running.namespace)["metadata"]
    finally:
        running.api.patch("pods", name, {"metadata": {"finalizers": None}}, running.namespace)
        chart.install(running.cluster, values=keep)


def _deletes_are_guarded(site: Site) -> bool:
    outcome = _moved(site, Told(), release=True)
    return all("this pod is ready" in str(error) for _, error in outcome.failed)


def test_taints_come_and_go_beside_those_of_others(release: Cluster, site: Site) -> None:
    names = site.add_nodes("nebius", count=20, taint=True)
    before = _taints(site)

    def value(wanted: str) -> dict[str, list[dict[str, Any]]]:
        asyncio.run(_tainted(site, names, wanted))
        return _taints(site)

    tainted = value("ProviderSilent")
    for name in names:
        (own,) = (one for one in tainted[name] if one["key"] == "computepool.io/unavailable")
        assert (own["value"], own["effect"]) == ("ProviderSilent", "NoSchedule")
        assert [one for one in tainted[name] if one != own] == before[name]
    changed = value("ProviderUnhealthy")
    assert [
        one | {"value": "ProviderUnhealthy"} if one["key"] == "computepool.io/unavailable" else one
        for one in tainted[names[0]]
    ] == changed[names[0]]
    assert value("") == before


class Wishing:
    """One taint for all nodes."""

    def __init__(self, site: Site, value: str) -> None:
        self._site = site
        self._value = value

    def node(self, name: str) -> Node:
        return Records().node(json.dumps(self._site.api.get("nodes", name)).encode())

    def wanted(self, _name: str) -> str:
        return self._value

    def written(self, node: Node, value: str, _version: int) -> None:
        assert value == self._value, node.name

    def failed(self) -> None:
        raise AssertionError("a taint could not be written")


async def _tainted(site: Site, names: list[str], wanted: str) -> None:
    async with _operator(site) as client:
        tainter = Tainter(WriteAccess(client, Leading(), Runtime(rng=random.Random(1)), "me"), Wishing(site, wanted))
        async with asyncio.timeout(60):
            await asyncio.gather(*map(tainter.make, names))


def _taints(site: Site) -> dict[str, list[dict[str, Any]]]:
    return {node["metadata"]["name"]: node["spec"].get("taints", []) for node in site.nodes()}
