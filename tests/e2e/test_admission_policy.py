"""The mutating policy, on the real API server: what it adds to new pods, and which pods it leaves alone.

Pods are created as dry runs: admission runs in full, and nothing has to be cleaned up. Bindings and statuses are
written with the operator's own token, so its rights are tried as well.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e import chart, objects
from e2e.chart import DRY_RUN
from e2e.cluster import Access, Cluster
from e2e.components import Options
from e2e.pools import POOLS

Json = dict[str, Any]

POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
NAMESPACE = "team-ml"
NUMBERS = itertools.count()
POD = objects.gpu_pod("new")
NEBIUS = objects.provider_toleration("nebius")
VIRTUAL = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
CRUSOE = objects.provider_toleration("crusoe")
OTHER: Json = {"namespaceSelector": {"matchLabels": {"team": "other"}}}
NOT_OTHER: Json = {
    "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["other"]}]}
}
PREFER_AWS = [{"key": objects.PROVIDER_KEY, "operator": "In", "values": ["aws"]}]
PREFERRED = {
    "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": PREFER_AWS}}
        ]
    }
}


class Bench:
    """A cluster with the chart on it, and the operator's hands."""

    def __init__(self, cluster: Access) -> None:
        self.admin = cluster.api
        self.operator = cluster.api_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)

    def admit(self, pod: Json, namespace: str = NAMESPACE) -> Json:
        """The pod as the API server would create it."""
        return self.admin.request("POST", self.admin.resource("pods").path(namespace), pod, query=DRY_RUN)

    @contextmanager
    def pool(self, name: str, match: Json | None = None) -> Iterator["Pool"]:
        """A pool, applied as a user would, with the binding that the operator would make; both gone afterwards."""
        self.admin.create(_pool(name))
        self.operator.create(chart.binding(name, self.operator.get(POLICIES, chart.BURST_POLICY), match))
        yield Pool(self, name)
        self.operator.delete(BINDINGS, f"computepool-{name}")
        self.admin.delete(POOLS, name)


class Pool:
    """A pool whose admission the operator opens and closes."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.name = name

    def write(self, *tolerations: Json, preference: list[Json] | None = None) -> None:
        """Write the status as the operator would; no toleration is closed."""
        admission = {"tolerations": list(tolerations), "preference": PREFER_AWS if preference is None else preference}
        self.bench.operator.patch(POOLS, self.name, {"status": {"admission": admission}}, subresource="status")

    def open(
        self, *tolerations: Json, preference: list[Json] | None = None, pod: Json = POD, namespace: str = "other"
    ) -> Json:
        """Open admission and return the first pod that something was added to."""
        self.write(*tolerations, preference=preference)
        return chart.until(lambda: _touched(pod, self.bench.admit(pod, namespace)), "admission to open")

    def wait_closed(self) -> Json:
        """Return the first pod that nothing was added to."""
        return chart.until(lambda: _untouched(POD, self.bench.admit(POD, "other")), "admission to close")


def _pool(name: str) -> Json:
    providers = [
        {"name": one, "nodeSelector": {"matchLabels": {objects.PROVIDER_KEY: one}}} for one in ("aws", "nebius")
    ]
    return {
        "apiVersion": "computepool.io/v1alpha1",
        "kind": "ComputePool",
        "metadata": {"name": name},
        "spec": {"mode": "Enforce", "accelerator": {"resourceName": objects.ACCELERATOR}, "providers": providers},
    }


def _tolerations(pod: Json) -> list[Json]:
    return list(pod["spec"].get("tolerations", []))


def _has(pod: Json, *tolerations: Json) -> bool:
    return all(one in _tolerations(pod) for one in tolerations)


def _added(before: Json, after: Json) -> list[Json]:
    """Tolerations the pod did not come with, the two apart that the API server gives every pod."""
    own = before["spec"].get("tolerations", [])
    return [one for one in _tolerations(after) if one not in own and not one["key"].startswith("node.kubernetes.io/")]


def _touched(before: Json, after: Json) -> Json | None:
    return after if _added(before, after) else None


def _untouched(before: Json, after: Json) -> Json | None:
    return None if _added(before, after) else after


@pytest.fixture(scope="module")
def bench(cluster: Access) -> Iterator[Bench]:
    namespaces = {NAMESPACE: "ml", "other": "other"}
    with chart.installed(cluster):
        for name, team in namespaces.items():
            cluster.api.create(objects.namespace(name, {"team": team}))
        yield Bench(cluster)
        for name in namespaces:
            cluster.api.delete("namespaces", name)


@pytest.fixture(scope="module")
def open_pool(bench: Bench) -> Iterator[Bench]:
    """A pool that stays open, for all namespaces but the one in which tests open and close theirs."""
    with bench.pool("inference", NOT_OTHER) as pool:
        pool.open(NEBIUS, VIRTUAL, namespace=NAMESPACE)
        yield bench


@pytest.fixture
def pool(bench: Bench) -> Iterator[Pool]:
    """A pool of the test's own for namespace "other", closed at first. Its name is new: nothing remembers it."""
    with bench.pool(f"pool-{next(NUMBERS)}", OTHER) as own:
        yield own


def test_a_new_pod_tolerates_the_standbys_and_prefers_the_primary(open_pool: Bench) -> None:
    admitted = open_pool.admit(POD)
    assert _added(POD, admitted) == [NEBIUS, VIRTUAL]
    assert admitted["spec"]["affinity"] == PREFERRED


def test_a_pod_keeps_the_tolerations_it_came_with(open_pool: Bench) -> None:
    own = {"key": "mine", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2**62 + 1}
    pod = objects.gpu_pod("new", tolerations=[own])
    admitted = open_pool.admit(pod)
    assert _tolerations(admitted)[0] == own
    assert _added(pod, admitted) == [NEBIUS, VIRTUAL]


@pytest.mark.parametrize(
    "own",
    [
        NEBIUS,
        {"key": objects.PROVIDER_KEY, "value": "nebius", "effect": "NoSchedule"},
        {"key": objects.PROVIDER_KEY, "operator": "Exists"},
        {"operator": "Exists", "effect": "NoSchedule"},
    ],
    ids=["the same", "without operator", "any value", "any key"],
)
def test_a_toleration_that_the_pod_has_is_not_added_again(open_pool: Bench, own: Json) -> None:
    pod = objects.gpu_pod("new", tolerations=[own])
    assert _added(pod, open_pool.admit(pod)) == [VIRTUAL]


@pytest.mark.parametrize(
    "own",
    [
        {"key": objects.PROVIDER_KEY, "operator": "Equal", "value": "crusoe", "effect": "NoSchedule"},
        {"key": objects.PROVIDER_KEY, "operator": "Equal", "value": "nebius", "effect": "PreferNoSchedule"},
        {"key": objects.PROVIDER_KEY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10},
    ],
    ids=["another value", "another effect", "for a while"],
)
def test_a_toleration_that_only_looks_alike_does_not_keep_ours_off(open_pool: Bench, own: Json) -> None:
    pod = objects.gpu_pod("new", tolerations=[own])
    assert _added(pod, open_pool.admit(pod)) == [NEBIUS, VIRTUAL]


@pytest.mark.parametrize(
    "affinity",
    [
        {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
                }
            }
        },
    ],
    ids=["pods", "nodes"],
)
def test_an_affinity_of_the_pods_own_stands_as_it_is(open_pool: Bench, affinity: Json) -> None:
    pod = objects.gpu_pod("new", affinity=affinity)
    admitted = open_pool.admit(pod)
    assert "preferredDuringSchedulingIgnoredDuringExecution" not in admitted["spec"]["affinity"].get("nodeAffinity", {})
    assert admitted["spec"]["affinity"].keys() == affinity.keys()
    assert _added(pod, admitted) == [NEBIUS, VIRTUAL]


def _with_container(kind: str, resources: Json) -> Json:
    pod = objects.gpu_pod("new", gpus=0)
    pod["spec"].setdefault(kind, []).append({"name": "gpu", "image": objects.IMAGE, "resources": resources})
    return pod


@pytest.mark.parametrize(
    ("kind", "resources"),
    [
        ("containers", {"limits": {objects.ACCELERATOR: "2"}}),
        ("containers", {"limits": {objects.ACCELERATOR: "2"}, "requests": {objects.ACCELERATOR: "2"}}),
        ("initContainers", {"limits": {objects.ACCELERATOR: "1"}}),
    ],
    ids=["by limits alone", "by requests", "in an init container"],
)
def test_a_pod_requests_the_accelerator_in_any_container(open_pool: Bench, kind: str, resources: Json) -> None:
    assert _has(open_pool.admit(_with_container(kind, resources)), NEBIUS)


@pytest.mark.parametrize(
    "pod",
    [
        objects.gpu_pod("new", gpus=0),
        objects.gpu_pod("new", resource="amd.com/gpu"),
        _with_container("containers", {"limits": {objects.ACCELERATOR: "0"}}),
        objects.gpu_pod("new", annotations={objects.PROVIDERS_ANNOTATION: "nebius"}),
        objects.gpu_pod("new", annotations={objects.PROVIDERS_ANNOTATION: ""}),
        objects.gpu_pod("new", schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]),
        objects.gpu_pod("new", labels={"kueue.x-k8s.io/queue-name": "research"}),
        objects.gpu_pod("new", nodeName="somewhere"),
    ],
    ids=[
        "no accelerator",
        "another accelerator",
        "none of the accelerator",
        "an allow-list",
        "an empty allow-list",
        "gated",
        "queued, and gated after this policy",
        "bound",
    ],
)
def test_a_pod_is_left_alone_that_is_none_of_ours(open_pool: Bench, pod: Json) -> None:
    admitted = open_pool.admit(pod)
    assert _added(pod, admitted) == []
    assert "affinity" not in admitted["spec"]


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_pods_of_the_system_and_of_the_operator_are_left_alone(open_pool: Bench, namespace: str) -> None:
    assert _untouched(POD, open_pool.admit(POD, namespace))


def test_changing_a_pod_adds_nothing(open_pool: Bench) -> None:
    created = open_pool.admin.create(objects.gpu_pod("early", schedulingGates=[{"name": "mine/wait"}]), NAMESPACE)
    changed = open_pool.admin.patch("pods", "early", {"spec": {"schedulingGates": None}}, NAMESPACE)
    assert _tolerations(changed) == _tolerations(created)
    open_pool.admin.delete("pods", "early", NAMESPACE, grace_seconds=0)


def test_the_bindings_selectors_say_which_pods_are_the_pools(bench: Bench) -> None:
    train, serve = (objects.gpu_pod("new", labels={"app": app}) for app in ("train", "serve"))
    with bench.pool("selective", OTHER | {"objectSelector": {"matchLabels": {"app": "train"}}}) as pool:
        pool.open(CRUSOE, pod=train)
        assert not _has(bench.admit(train, "default"), CRUSOE)
        assert not _has(bench.admit(serve, "other"), CRUSOE)


def test_admission_opens_and_closes_with_the_pools_status(pool: Pool) -> None:
    assert _untouched(POD, pool.bench.admit(POD, "other"))
    for _ in range(2):
        assert "affinity" in pool.open(NEBIUS)["spec"]
        pool.write()
        assert "affinity" not in pool.wait_closed()["spec"]


def test_a_pool_in_observe_mode_changes_no_pod_whatever_its_status_says(pool: Pool) -> None:
    pool.open(NEBIUS)
    pool.bench.admin.patch(POOLS, pool.name, {"spec": {"mode": "Observe"}})
    pool.wait_closed()


def test_a_pool_that_is_gone_changes_no_pod_and_stops_none(pool: Pool) -> None:
    pool.open(NEBIUS)
    pool.bench.admin.delete(POOLS, pool.name)
    pool.wait_closed()


def test_only_tolerations_are_added_that_the_guard_would_let_the_operator_add(pool: Pool) -> None:
    foreign = {"key": "example.com/other", "operator": "Exists", "effect": "NoSchedule"}
    assert _added(POD, pool.open(foreign, NEBIUS)) == [NEBIUS]


def test_a_primary_without_preference_leaves_affinity_out(pool: Pool) -> None:
    assert "affinity" not in pool.open(NEBIUS, preference=[])["spec"]


def test_as_many_tolerations_as_a_status_may_hold_stay_within_the_policys_budget(pool: Pool) -> None:
    many = [objects.provider_toleration(f"provider-{index}") for index in range(120)]
    pod = objects.gpu_pod("new", tolerations=[{"key": f"mine-{index}", "operator": "Exists"} for index in range(40)])
    assert _added(pod, pool.open(*many, pod=pod)) == many


@pytest.fixture(scope="module")
def strict() -> Iterator[Bench]:
    """A cluster that gives pods no tolerations of its own, and enforces who may set owner references."""
    flags = [
        "--disable-admission-plugins=DefaultTolerationSeconds",
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
    ]
    with Cluster(options=Options(extra_flags={"kube-apiserver": flags})) as cluster, chart.installed(cluster):
        yield Bench(cluster)


def test_a_pod_without_any_toleration_gets_a_list_of_ours(strict: Bench) -> None:
    with strict.pool("inference") as pool:
        admitted = pool.open(NEBIUS, VIRTUAL, namespace="default")
    assert _tolerations(admitted) == [NEBIUS, VIRTUAL]
    assert admitted["spec"]["affinity"] == PREFERRED


def test_the_operator_may_own_its_bindings_where_owner_references_are_enforced(strict: Bench) -> None:
    policy = strict.operator.get(POLICIES, chart.BURST_POLICY)
    created = strict.operator.create(chart.binding("owned", policy))
    assert created["metadata"]["ownerReferences"][0]["uid"] == policy["metadata"]["uid"]
    owners = [{**created["metadata"]["ownerReferences"][0], "controller": True}]
    strict.operator.patch(BINDINGS, "computepool-owned", {"metadata": {"ownerReferences": owners}})
    strict.operator.delete(BINDINGS, "computepool-owned")


def test_a_binding_goes_with_the_policy_that_owns_it(strict: Bench) -> None:
    policy = strict.operator.get(POLICIES, chart.BURST_POLICY)
    copy = {
        "apiVersion": policy["apiVersion"],
        "kind": policy["kind"],
        "metadata": {"name": "copy"},
        "spec": policy["spec"],
    }
    owner = strict.admin.create(copy)
    strict.operator.create(chart.binding("orphan", owner))
    strict.admin.delete(POLICIES, "copy")
    strict.admin.wait_for(BINDINGS, lambda found: not found, name="computepool-orphan", what="the binding to be gone")
