"""`computepool drain` on a real cluster: what becomes of pods, what is told, and other edits at the same moment."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e import brisk, command, kubeconfig, objects, pools
from e2e.kubeapi import ApiError
from e2e.operator import OperatorProcess
from e2e.site import Site

Json = dict[str, Any]
PROVIDERS = ("aws", "nebius", "crusoe")


@pytest.fixture
def burst(operator: OperatorProcess, site: Site) -> Iterator[Site]:
    """A full primary, two pods of a Deployment on nebius, and room on crusoe."""
    site.add_taken_node("aws", gpus=2)
    for name in ("nebius", "crusoe"):
        site.add_nodes(name, gpus=4, taint=True)
    # The next pod of an owner leaves a moment after the replacement of the pod before has become Ready.
    health = {"breaker": {"proveSeconds": 1, "backoffSeconds": 1}, "clearSeconds": 1}
    with pools.pool(site, PROVIDERS, health=health, failback={"minDwellSeconds": 0}):
        site.create(objects.gpu_deployment("chat", 2))
        pods = site.wait_bound(2, labels="app=chat")
        assert site.providers_of(pods) == {"nebius": 2}
        pools.wait_status(site.api, site.namespace, lambda status: status.get("burstPods") == 2, "two burst pods")
        yield site


def drain(site: Site, *words: str, provider: str = "nebius") -> str:
    ended = command.run("drain", f"{site.namespace}/{provider}", *words, env=site.cluster.command_env())
    assert ended.returncode == 0, ended.stderr
    return " ".join(ended.stdout.split())


def stored(site: Site, name: str = "nebius") -> Json:
    providers = site.api.get(pools.POOLS, site.namespace)["spec"]["providers"]
    return next(entry for entry in providers if entry["name"] == name)


def wait_breaker(site: Site, *states: str) -> None:
    pools.wait_status(
        site.api,
        site.namespace,
        lambda status: brisk.breaker_of(status, "nebius").get("state") in states,
        f"the breaker of nebius to be {states}",
    )


def warnings(site: Site) -> list[str]:
    events = site.api.list("events.events.k8s.io")
    mine = [event for event in events if event["regarding"].get("name") == site.namespace]
    return [event["note"] for event in mine if event["type"] == "Warning"]


def test_a_drain_keeps_new_pods_off_lets_running_pods_stay_and_alarms_nobody(burst: Site) -> None:
    # On a busy machine the operator may see the new pool a moment before the pool's new nodes.
    before = warnings(burst)
    said = drain(burst)
    assert "is drained: no new pod is sent there. 2 pods of the pool run there." in said
    wait_breaker(burst, "Open")
    burst.create(objects.gpu_pod("new", labels={"app": "new"}))
    new = burst.wait_bound(1, labels="app=new")
    assert burst.providers_of(new) == {"crusoe": 1}
    assert burst.providers_of(burst.pods("app=chat")) == {"nebius": 2}
    pools.wait_condition(burst, burst.namespace, "Degraded", "False", "Drained", says="nebius (open)")
    assert [note for note in warnings(burst) if note not in before] == []
    row = burst.cluster.kubectl("get", "cpool", burst.namespace).splitlines()[1]
    assert "Drained" in row.split()


def test_a_manifest_that_is_applied_by_the_server_can_be_applied_again_after_a_drain(burst: Site) -> None:
    item = burst.api.get(pools.POOLS, burst.namespace)
    manifest = {key: item[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": burst.namespace}}

    def apply(*words: str) -> None:
        text = json.dumps(manifest)
        burst.cluster.kubectl("apply", "--server-side", *words, "--field-manager=gitops", "-f", "-", input=text)

    apply("--force-conflicts")
    drain(burst)
    drain(burst, "--undo")
    manifest["spec"]["providers"][1]["pricePerAcceleratorHour"] = "2.50"
    apply()
    assert stored(burst)["pricePerAcceleratorHour"] == "2.50"


def test_with_move_running_pods_leave_and_after_undo_the_provider_is_tried_again(burst: Site) -> None:
    assert "free accelerators: 4 on crusoe" in drain(burst, "--move")

    def moved(found: list[Json]) -> bool:
        return len(found) == 2 and burst.providers_of(found) == {"crusoe": 2}

    burst.api.wait_for("pods", moved, burst.namespace, labels="app=chat", timeout=90, what="both pods on crusoe")
    pools.wait_status(
        burst.api,
        burst.namespace,
        lambda status: pools.provider_in(status, "nebius").get("burstPods", 0) == 0,
        "a status without burst pods on nebius",
    )
    assert drain(burst, "--undo").startswith(f"The drain of nebius of pool {burst.namespace} has ended.")
    wait_breaker(burst, "HalfOpen", "Closed")
    assert "drainRunningPods" not in stored(burst)
    assert stored(burst)["drain"] is False


def test_a_drain_without_another_place_for_waiting_pods_degrades_until_it_ends(burst: Site) -> None:
    drain(burst)
    drain(burst, provider="crusoe")
    burst.create(objects.gpu_pod("new", labels={"app": "new"}))
    pools.wait_condition(burst, burst.namespace, "Degraded", "True", "Drained", says=f"{burst.namespace}/new")
    drain(burst, "--undo", provider="crusoe")
    burst.wait_bound(1, labels="app=new")
    # It lasts for 30 s after the last such pod.
    pools.wait_condition(burst, burst.namespace, "Degraded", "False", "Drained", timeout=60)


def test_a_dry_run_changes_nothing_and_a_second_time_nothing_more(burst: Site) -> None:
    before = stored(burst)
    assert drain(burst, "--dry-run").endswith("Nothing was changed.")
    assert stored(burst) == before
    drain(burst)
    version = burst.api.get(pools.POOLS, burst.namespace)["metadata"]["generation"]
    assert drain(burst).endswith("is drained already. Nothing was changed.")
    assert burst.api.get(pools.POOLS, burst.namespace)["metadata"]["generation"] == version


# -- other edits at the same moment


@contextmanager
def reordering(site: Site) -> Iterator[list[int]]:
    """Somebody who changes the order of the standbys all the time; yields how often that was done so far."""
    stop, done = threading.Event(), [0]

    def turn() -> None:
        while not stop.is_set():
            item = site.api.get(pools.POOLS, site.namespace)
            first, second, third = item["spec"]["providers"]
            version = item["metadata"]["resourceVersion"]
            patch = {"metadata": {"resourceVersion": version}, "spec": {"providers": [first, third, second]}}
            try:
                site.api.patch(pools.POOLS, site.namespace, patch)
            except ApiError as error:
                if error.status != 409:
                    raise
            else:
                done[0] += 1

    editor = threading.Thread(target=turn)
    editor.start()
    try:
        yield done
    finally:
        stop.set()
        editor.join()


def test_edits_of_the_list_at_the_same_moment_never_drain_another_provider(
    operator: OperatorProcess, site: Site
) -> None:
    for name in PROVIDERS:
        site.add_nodes(name, gpus=2, taint=name != "aws")
    with pools.pool(site, PROVIDERS), reordering(site) as edits:
        for round_ in range(4):
            ended = run_until_done(site, () if round_ % 2 == 0 else ("--undo",))
            assert ended.returncode == 0, ended.stderr
            providers = site.api.get(pools.POOLS, site.namespace)["spec"]["providers"]
            drained = {entry["name"] for entry in providers if entry.get("drain")}
            assert drained == ({"nebius"} if round_ % 2 == 0 else set())
        assert edits[0] > 20


def run_until_done(site: Site, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run the command again where it gave up, which it says: the other edits leave it hardly any time."""
    for _ in range(5):
        ended = command.run("drain", f"{site.namespace}/nebius", *words, env=site.cluster.command_env())
        if "changed again and again" not in ended.stderr:
            return ended
    return ended


# -- rights


def test_who_may_only_view_pools_is_told_the_right_that_is_missing(burst: Site, tmp_path: Path) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "onlooker"}}
    burst.create(account)
    name = f"{burst.namespace}-onlooker"
    viewer = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "computepool-viewer"},
        "subjects": [{"kind": "ServiceAccount", "name": "onlooker", "namespace": burst.namespace}],
    }
    burst.api.create(viewer)
    try:
        config = kubeconfig.write(
            tmp_path / "kubeconfig",
            server=burst.cluster.url,
            ca_file=burst.cluster.ca_file,
            token=burst.api.token("onlooker", burst.namespace),
            namespace=burst.namespace,
        )
        ended = command.run("drain", f"{burst.namespace}/nebius", "--kubeconfig", str(config))
    finally:
        burst.api.delete("clusterrolebindings.rbac.authorization.k8s.io", name)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "cannot patch resource" in ended.stderr
    assert "This command needs the right to get and patch computepools" in " ".join(ended.stderr.split())
    assert not stored(burst).get("drain")
