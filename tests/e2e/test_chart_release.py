"""A release's life on a cluster, by the real Helm: install, upgrade, uninstall.

It has a cluster of its own, since a release is the whole cluster's.
"""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import chart, objects
from e2e.chart import BURST_POLICY, CHART, CRDS, GUARD_POLICIES, NAMESPACE, RELEASE
from e2e.cluster import REPOSITORY, Cluster
from e2e.components import APISERVER, CONTROLLER_MANAGER, SCHEDULER, Options
from e2e.errors import CommandError
from e2e.kubeapi import ApiError, KubeApi
from e2e.pools import POOLS

Json = dict[str, Any]

POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
GUARDS = "validatingadmissionpolicies.admissionregistration.k8s.io"
POOL: Json = {
    "apiVersion": "computepool.io/v1alpha1",
    "kind": "ComputePool",
    "metadata": {"name": "inference"},
    "spec": {
        "providers": [
            {"name": name, "nodeSelector": {"matchLabels": {objects.PROVIDER_KEY: name}}} for name in ("aws", "nebius")
        ]
    },
}


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A cluster whose release namespace takes only the most restricted pods."""
    with Cluster() as cluster:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        cluster.api.create(objects.namespace(NAMESPACE, restricted))
        cluster.api.create(objects.gpu_node("system", "none", gpus=0))
        yield cluster


@pytest.fixture
def release(own: Cluster) -> Iterator[Cluster]:
    """The chart with all its defaults, the operator's pods too (kwok plays them); afterwards the definition is left."""
    chart.install(own, values={})
    try:
        yield own
    finally:
        chart.uninstall(own)
        if own.api.find(CRDS, POOLS):
            own.api.delete_all(POOLS)


def _bind(cluster: Cluster) -> None:
    """Make a pool, and its binding as the operator does."""
    cluster.api.wait_for(CRDS, _established, name=POOLS, what="the definition to be established")
    cluster.api.create(POOL)
    operator = cluster.api_for(chart.SERVICE_ACCOUNT, NAMESPACE)
    operator.create(chart.binding("inference", operator.get(POLICIES, BURST_POLICY)))


def _established(found: list[Json]) -> bool:
    return bool(found) and objects.condition_of(found[0], "Established") == "True"


def _left_of_the_release(cluster: Cluster) -> set[str]:
    """Everything that carries the release's labels, as kind/name. Pods apart, which end in their own time."""
    listed = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    kinds = [kind for kind in listed if kind not in ("pods", "events", "events.events.k8s.io")]
    found = cluster.kubectl(
        *("get", ",".join(kinds), "--all-namespaces", "--ignore-not-found", "--output=name"),
        *("--selector", f"app.kubernetes.io/instance={RELEASE}"),
    )
    return set(found.split())


def test_the_installed_operator_is_ready_in_a_restricted_namespace(release: Cluster) -> None:
    release.api.wait_for(
        "deployments.apps",
        lambda found: bool(found) and found[0]["status"].get("readyReplicas") == 2,
        NAMESPACE,
        what="two ready operator pods",
    )


def test_the_api_server_finds_nothing_odd_in_the_policies(release: Cluster) -> None:
    for name in GUARD_POLICIES:
        checked = release.api.wait_for(GUARDS, _type_checked, name=name, what="type checking")
        assert checked["status"]["typeChecking"] == {}


def _type_checked(found: list[Json]) -> Json | None:
    return found[0] if found and "typeChecking" in found[0].get("status", {}) else None


def test_an_upgrade_changes_what_it_is_told_and_keeps_pools_and_bindings(release: Cluster) -> None:
    _bind(release)
    before = release.api.get(BINDINGS, "computepool-inference")
    chart.install(release, values={"replicas": 1, "log": {"level": "debug"}})
    deployment = release.api.get("deployments.apps", RELEASE, NAMESPACE)
    assert deployment["spec"]["replicas"] == 1
    assert "--log-level=debug" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    policy = release.api.get(POLICIES, BURST_POLICY)
    assert before["metadata"]["ownerReferences"][0]["uid"] == policy["metadata"]["uid"]
    assert release.api.get(BINDINGS, "computepool-inference")["metadata"]["uid"] == before["metadata"]["uid"]
    assert release.api.get(POOLS, "inference")


def test_switching_the_admission_policy_off_takes_the_bindings_with_it(release: Cluster) -> None:
    _bind(release)
    chart.install(release, values={"admissionPolicy": {"enabled": False}})
    assert release.api.find(POLICIES, BURST_POLICY) is None
    release.api.wait_for(BINDINGS, lambda found: not found, what="the bindings to be collected")
    assert release.api.get(POOLS, "inference")


def test_an_uninstall_keeps_definition_and_pools_and_nothing_else(release: Cluster) -> None:
    _bind(release)
    chart.uninstall(release)
    release.api.wait_for(BINDINGS, lambda found: not found, what="the bindings to be collected")
    kept = {f"customresourcedefinition.apiextensions.k8s.io/{POOLS}"}
    chart.until(lambda: _left_of_the_release(release) == kept, "all to be gone but the definition")
    assert release.api.get(POOLS, "inference")


def test_a_new_install_takes_over_the_definition_and_pools_that_were_kept(release: Cluster) -> None:
    _bind(release)
    chart.uninstall(release)
    chart.install(release)
    assert release.api.get(POOLS, "inference")
    assert release.api.get(POLICIES, BURST_POLICY)


def test_an_uninstall_without_keep_leaves_nothing(release: Cluster) -> None:
    _bind(release)
    chart.install(release, values={"crds": {"keep": False}})
    chart.uninstall(release)
    release.api.wait_for(BINDINGS, lambda found: not found, what="the bindings to be collected")
    assert release.api.find(CRDS, POOLS) is None
    chart.until(lambda: not _left_of_the_release(release), "all to be gone")


def _install_as(cluster: Cluster, name: str, namespace: str) -> str:
    flags = chart.value_flags(chart.NO_CLEANUP)
    return cluster.helm("install", name, str(CHART), "--namespace", namespace, "--create-namespace", *flags)


def test_a_second_release_on_the_same_cluster_is_refused(release: Cluster) -> None:
    with pytest.raises(CommandError) as refused:
        _install_as(release, "another", "default")
    assert f"installed already, as release {RELEASE} in namespace {NAMESPACE}" in refused.value.stderr
    assert "upgrade that release, or uninstall it first" in refused.value.stderr


def test_a_release_of_another_name_takes_the_kept_definition_by_the_command_that_helm_prints(
    release: Cluster,
) -> None:
    _bind(release)
    chart.uninstall(release)
    with pytest.raises(CommandError) as refused:
        _install_as(release, "gpu", "elsewhere")
    assert f"{POOLS} belongs to release {RELEASE}, which is gone." in refused.value.stderr
    _run_the_told_command(release, refused.value.stderr)
    _install_as(release, "gpu", "elsewhere")
    try:
        assert release.api.get(POOLS, "inference")
        assert release.api.get("deployments.apps", "gpu-computepool", "elsewhere")
        with pytest.raises(CommandError, match="installed already, as release gpu in namespace elsewhere"):
            chart.install(release)
    finally:
        release.helm("uninstall", "gpu", "--namespace", "elsewhere")
    with pytest.raises(CommandError) as back:
        chart.install(release)
    _run_the_told_command(release, back.value.stderr)
    chart.install(release)


def _run_the_told_command(cluster: Cluster, text: str) -> None:
    told = " ".join(text.split()).partition("run Helm again: ")[2].partition(" Use --debug")[0]
    kubectl, *words = shlex.split(told)
    assert (kubectl, words[:2]) == ("kubectl", ["annotate", "crd"])
    cluster.kubectl(*words)


def test_a_definition_that_helm_did_not_install_is_left_as_it_is_by_the_value_that_helm_names(own: Cluster) -> None:
    own.kubectl("delete", "crd", POOLS, "--ignore-not-found")
    own.kubectl("create", "--filename", str(REPOSITORY / "crds"))
    try:
        with pytest.raises(CommandError, match=r"Helm did not install it: set crds\.enabled=false"):
            chart.install(own)
        chart.install(own, values={**chart.NO_OPERATOR_PODS, "crds.enabled": False})
        chart.uninstall(own)
        assert own.api.get(CRDS, POOLS)
    finally:
        own.kubectl("delete", "crd", POOLS)


def test_helm_test_runs_the_check_and_leaves_nothing(release: Cluster) -> None:
    before = _left_of_the_release(release)
    assert "Phase: Succeeded" in " ".join(release.helm("test", RELEASE, "--namespace", NAMESPACE).split())
    chart.until(lambda: _left_of_the_release(release) == before, "the hook's objects to be gone")
    ran = [event for event in release.api.list("events.events.k8s.io", NAMESPACE) if event["reason"] == "Completed"]
    assert [event["regarding"]["name"] for event in ran] == [chart.CHECK_ACCOUNT]


def test_values_of_an_older_chart_that_lack_what_is_new_can_be_reused(release: Cluster, tmp_path: Path) -> None:
    older = tmp_path / "computepool"
    shutil.copytree(CHART, older)
    values = yaml.safe_load((older / "values.yaml").read_text())
    del values["prometheus"], values["admissionPolicy"]["whenMissing"]
    del values["metrics"]["prometheusRule"], values["metrics"]["dashboard"]
    (older / "values.yaml").write_text(yaml.safe_dump(values))
    (older / "values.schema.json").unlink()
    upgrade = ("upgrade", RELEASE, "--namespace", NAMESPACE)
    release.helm(*upgrade, str(older), *chart.value_flags({**chart.NO_CLEANUP, "replicas": 1}))
    for how in ("--reuse-values", "--reset-then-reuse-values"):
        release.helm(*upgrade, str(CHART), how)
        assert release.api.get("deployments.apps", RELEASE, NAMESPACE)["spec"]["replicas"] == 1
        assert release.api.get(POLICIES, BURST_POLICY)


def test_the_notes_say_what_to_do_next(release: Cluster) -> None:
    notes = release.helm("get", "notes", RELEASE, "--namespace", NAMESPACE)
    assert f"kubectl --namespace {NAMESPACE} rollout status deployment/computepool" in notes
    assert "policy computepool-burst" in notes
    manifest = notes[notes.index("apiVersion:") : notes.index("   The standby's nodes")]
    created = release.kubectl("create", "--dry-run=server", "--output=name", "-f", "-", input=_filled_in(manifest))
    assert created.strip() == "computepool.computepool.io/first"


def _filled_in(manifest: str) -> str:
    return manifest.replace("LABEL: OF-YOUR-PRIMARY-NODES", "provider: aws")


def test_people_get_their_rights_through_the_roles_every_cluster_has(release: Cluster) -> None:
    def may(verb: str, role: str) -> bool:
        found = release.api.get("clusterroles.rbac.authorization.k8s.io", role)
        return any("computepools" in rule.get("resources", []) and verb in rule["verbs"] for rule in found["rules"])

    chart.until(lambda: may("list", "view") and may("delete", "admin"), "the roles to be aggregated")
    assert not may("patch", "view")
    assert not may("patch", "edit")


@pytest.fixture(scope="module")
def older() -> Iterator[Cluster]:
    """The chart on the oldest Kubernetes that the binaries can pass for: it has no mutating policies."""
    emulated = {name: ["--emulated-version=kube=1.34"] for name in (APISERVER, CONTROLLER_MANAGER, SCHEDULER)}
    with Cluster(options=Options(extra_flags=emulated)) as cluster:
        chart.install(cluster)
        yield cluster


def test_an_older_kubernetes_gets_everything_but_the_admission_policy(older: Cluster) -> None:
    operator = older.api_for(chart.SERVICE_ACCOUNT, NAMESPACE)
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/{BURST_POLICY}"
    with pytest.raises(ApiError) as absent:
        operator.request("GET", path)
    assert absent.value.status == 404
    assert "no MutatingAdmissionPolicy" in older.helm("get", "notes", RELEASE, "--namespace", NAMESPACE)


def test_the_guard_holds_on_an_older_kubernetes(older: Cluster) -> None:
    operator = older.api_for(chart.SERVICE_ACCOUNT, NAMESPACE)
    older.api.create(objects.gpu_pod("held"), "default")
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "x"}]
    chart.until(lambda: _refusal(operator, image), "the guard to take effect")
    assert "changes spec.containers" in _refusal(operator, image)
    toleration = [{"op": "add", "path": "/spec/tolerations/-", "value": objects.provider_toleration("nebius")}]
    operator.patch("pods", "held", toleration, "default", how="json")


def _refusal(operator: KubeApi, patch: list[Json]) -> str:
    path = operator.resource("pods").path("default", "held")
    try:
        operator.request("PATCH", path, patch, query=chart.DRY_RUN, content_type="application/json-patch+json")
    except ApiError as refused:
        return refused.message
    return ""
