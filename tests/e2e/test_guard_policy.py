"""What the guard lets the operator's ServiceAccount write, tried with its own token on the real API server.

Writes are dry runs: authorization and admission run in full, and each case starts from the same objects.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from computepool.act.tainter import taint_patch
from computepool.observe.decode import Records
from e2e import chart, objects
from e2e.chart import DRY_RUN
from e2e.cluster import Access
from e2e.kubeapi import ApiError, KubeApi

Json = dict[str, Any]
Patch = Json | list[Json]

NAMESPACE = "guarded"
POD = "pod"
GATED = "gated"
NODE = "guarded-node"
MOVABLE = "computepool.io/movable"
COST = "controller.kubernetes.io/pod-deletion-cost"
AT = 1_795_410_000.0
"""2026-11-23T05:00:00Z."""
OTHER_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "00000000-0000-0000-0000-000000000001"}
OURS = objects.provider_toleration("nebius")
MINE = {"key": "mine", "operator": "Exists"}
FOR_A_WHILE = {"key": "mine", "value": "x", "effect": "NoExecute", "tolerationSeconds": 60}
SERVER_DEFAULT = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
LIQO = {"key": "virtual-node.liqo.io/not-allowed", "operator": "Exists", "effect": "NoExecute"}
DEFAULTS = [
    {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in ("not-ready", "unreachable")
]


class Guarded:
    """The operator's view of the objects that the cases are tried on, and the administrator's."""

    def __init__(self, cluster: Access) -> None:
        self.admin = cluster.api
        self.operator = cluster.api_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)


def _pod(name: str, owner: Json, **spec: Any) -> Json:
    """A pod with something of everything that is not the operator's."""
    pod = objects.gpu_pod(
        name,
        labels={"app": "train"},
        annotations={"note": "mine", objects.PROVIDERS_ANNOTATION: "nebius", MOVABLE: "false"},
        nodeSelector={"no-such": "node"},
        tolerations=[MINE, FOR_A_WHILE],
        **spec,
    )
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    pod["metadata"] |= {"ownerReferences": [reference], "finalizers": ["example.com/hold"]}
    return pod


def _add(*tolerations: Json) -> Patch:
    return [{"op": "add", "path": "/spec/tolerations/-", "value": one} for one in tolerations]


def _annotate(**annotations: str | None) -> Patch:
    return {"metadata": {"annotations": annotations}}


def _try(api: KubeApi, kind: str, name: str, patch: Patch, namespace: str | None = None) -> Json:
    how = "application/json-patch+json" if isinstance(patch, list) else "application/merge-patch+json"
    return api.request("PATCH", api.resource(kind).path(namespace, name), patch, query=DRY_RUN, content_type=how)


def _refusal(api: KubeApi, kind: str, name: str, patch: Patch, namespace: str | None = None) -> str:
    """The message of a write that the guard must refuse."""
    with pytest.raises(ApiError) as refused:
        _try(api, kind, name, patch, namespace)
    assert refused.value.status == 403
    return refused.value.message


@pytest.fixture(scope="module")
def guarded(cluster: Access) -> Iterator[Guarded]:
    with chart.installed(cluster):
        own = Guarded(cluster)
        own.admin.create(objects.namespace(NAMESPACE))
        owner = own.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}, NAMESPACE)
        own.admin.create(_pod(POD, owner), NAMESPACE)
        own.admin.create(_pod(GATED, owner, schedulingGates=[{"name": "mine/wait"}]), NAMESPACE)
        for namespace in ("kube-system", chart.NAMESPACE):
            own.admin.create(objects.gpu_pod(POD, nodeSelector={"no-such": "node"}), namespace)
        chart.until(lambda: _guards(own.operator), "the guard to take effect")
        yield own
        for name in (POD, GATED):
            own.admin.patch("pods", name, {"metadata": {"finalizers": None}}, NAMESPACE)
        own.admin.delete("pods", POD, "kube-system", grace_seconds=0)
        own.admin.delete("namespaces", NAMESPACE)


def _guards(operator: KubeApi) -> bool:
    try:
        _try(operator, "pods", POD, {"metadata": {"labels": {"computepool.io/probe": "x"}}}, NAMESPACE)
    except ApiError as refused:
        return "computepool-guard-pods" in refused.message
    return False


ALLOWED_ON_PODS: dict[str, Patch] = {
    "a toleration for a standby": _add(OURS),
    "several tolerations with keys of the list": _add(
        OURS, {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
    ),
    "a toleration, only if the pod is as it was seen": [
        {"op": "test", "path": "/spec/tolerations/0", "value": MINE},
        *_add(OURS),
    ],
    "the whole list of tolerations, those that are there and ours": {
        "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]}
    },
    "its label, beside the toleration": {
        "metadata": {"labels": {"computepool.io/burst": "nebius"}},
        "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]},
    },
    "its annotations": _annotate(**{"computepool.io/offers": "nebius=2026-11-23T05:00:00Z"}),
    "the pod's deletion cost": _annotate(**{COST: "-100"}),
    "nothing": {},
    "what the API server itself adds to a pod that lacks it": _add(SERVER_DEFAULT | {"tolerationSeconds": 299}),
    "what a plugin of the API server adds": _add(
        {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    ),
    # An admission policy sees the object after all mutation, so what other policies add is allowed to the operator.
    "another policy's label": {"metadata": {"labels": {"team": "x"}}},
    "another policy's label with a domain": {"metadata": {"labels": {"app.kubernetes.io/part-of": "x"}}},
    "another policy's value for a label of a pod that waits": {"metadata": {"labels": {"app": "x"}}},
    "another policy's annotation": _annotate(**{"example.com/changed-by": "x"}),
    "another policy's value for an annotation": _annotate(note="x"),
    "another policy's word to an autoscaler": _annotate(**{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}),
    "another policy's toleration": _add({"key": "example.com/team", "value": "x", "effect": "NoSchedule"}),
    "a provider's taint with another value than its name": {
        "metadata": {
            "labels": {"computepool.io/burst": "nebius-h100"},
            "annotations": {"computepool.io/offers": "nebius-h100=2026-11-23T05:00:00Z"},
        },
        "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]},
    },
    "the label of a provider whose taint has a key of the list": {
        "metadata": {"labels": {"computepool.io/burst": "edge"}},
        "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, LIQO]},
    },
}


@pytest.mark.parametrize("patch", ALLOWED_ON_PODS.values(), ids=ALLOWED_ON_PODS.keys())
def test_the_operator_may_write_on_a_pod(guarded: Guarded, patch: Patch) -> None:
    _try(guarded.operator, "pods", POD, patch, NAMESPACE)


def test_the_operator_may_take_back_its_own_label_and_annotations(guarded: Guarded) -> None:
    keys = {"computepool.io/offers": "x", COST: "-100"}
    mine = objects.gpu_pod(
        "marked", labels={"computepool.io/burst": "x"}, annotations=keys, nodeSelector={"no-such": "node"}
    )
    guarded.admin.create(mine, NAMESPACE)
    gone: Patch = {
        "metadata": {"labels": {"computepool.io/burst": None}, "annotations": dict.fromkeys(keys)},
    }
    _try(guarded.operator, "pods", "marked", gone, NAMESPACE)


REFUSED_ON_PODS: dict[str, tuple[Patch, str]] = {
    "an image": ([{"op": "replace", "path": "/spec/containers/0/image", "value": "x"}], "a change of spec.containers"),
    "a deadline": ({"spec": {"activeDeadlineSeconds": 1}}, "a change of spec.activeDeadlineSeconds"),
    "a toleration of the control plane": (
        _add(OURS, {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}),
        'the toleration "node-role.kubernetes.io/control-plane" (Exists "", effect "NoSchedule"); the chart\'s value '
        "guard.tolerationKeys",
    ),
    "a toleration of everything": (_add({"operator": "Exists"}), 'the toleration "" (Exists'),
    "a toleration of quarantined nodes": (
        _add({"key": "computepool.io/unavailable", "operator": "Exists", "effect": "NoSchedule"}),
        'the toleration "computepool.io/unavailable"',
    ),
    "a toleration of all providers": (
        _add({"key": objects.PROVIDER_KEY, "operator": "Exists", "effect": "NoSchedule"}),
        'the toleration "computepool.io/provider" (Exists "", effect "NoSchedule")',
    ),
    "a toleration of a provider without a name": (
        _add({"key": objects.PROVIDER_KEY, "effect": "NoSchedule"}),
        'the toleration "computepool.io/provider" (Equal ""',
    ),
    "a toleration of a provider for a time": (
        _add(OURS | {"effect": "NoExecute", "tolerationSeconds": 0}),
        '(Equal "nebius", effect "NoExecute", 0 s)',
    ),
    "a foreign toleration that ends no stay": (
        _add({"key": "example.com/gone", "operator": "Exists", "effect": "NoExecute"}),
        'the toleration "example.com/gone" (Exists "", effect "NoExecute")',
    ),
    "a foreign toleration of all effects": (
        _add({"key": "example.com/gone", "operator": "Exists"}),
        'the toleration "example.com/gone" (Exists "", effect "")',
    ),
    "a toleration of dead nodes for ever": (_add(SERVER_DEFAULT), 'the toleration "node.kubernetes.io/not-ready"'),
    "a toleration of dead nodes for very long": (
        _add(SERVER_DEFAULT | {"tolerationSeconds": 1_000_000_000}),
        'effect "NoExecute", 1000000000 s)',
    ),
    "a toleration of dead nodes for a little longer": (
        _add(SERVER_DEFAULT | {"tolerationSeconds": 301}),
        'effect "NoExecute", 301 s)',
    ),
    "no stay on dead nodes": (_add(SERVER_DEFAULT | {"tolerationSeconds": 0}), 'effect "NoExecute", 0 s)'),
    "the label of a provider that it does not tolerate": (
        {"metadata": {"labels": {"computepool.io/burst": "nebius"}}},
        "whose taint the pod tolerates; refused: computepool.io/burst=nebius; the chart's value guard.tolerationKeys",
    ),
    "the label of a provider whose taint has a key that is not in the list": (
        {
            "metadata": {"labels": {"computepool.io/burst": "edge"}},
            "spec": {
                "tolerations": [
                    MINE,
                    FOR_A_WHILE,
                    *DEFAULTS,
                    {"key": "example.com/edge", "operator": "Exists", "effect": "NoSchedule"},
                ]
            },
        },
        'refused: computepool.io/burst=edge with a toleration of "example.com/edge"; the chart\'s value',
    ),
    "the label of another provider than the tolerated": (
        {
            "metadata": {"labels": {"computepool.io/burst": "crusoe"}},
            "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]},
        },
        "whose taint the pod tolerates; refused: computepool.io/burst=crusoe",
    ),
    "a longer stay for a toleration that is there": (
        {"spec": {"tolerations": [MINE, FOR_A_WHILE | {"tolerationSeconds": 600}, *DEFAULTS]}},
        "refused, the removal or change of one",
    ),
    "a label of its own domain": (
        {"metadata": {"labels": {"computepool.io/x": "y"}}},
        "refused: metadata.labels computepool.io/x",
    ),
    "a label of Kubernetes": (
        {"metadata": {"labels": {"batch.kubernetes.io/job-name": "y"}}},
        "refused: metadata.labels batch.kubernetes.io/job-name",
    ),
    "no more of a user's label": ({"metadata": {"labels": {"app": None}}}, "refused: metadata.labels app"),
    "all labels gone": ({"metadata": {"labels": None}}, "refused: metadata.labels app"),
    "no more of a user's annotation": (_annotate(note=None), "refused: metadata.annotations note"),
    "an annotation of Kubernetes": (
        _annotate(**{"kubernetes.io/limit-ranger": "x"}),
        "refused: metadata.annotations kubernetes.io/limit-ranger",
    ),
    "another allow-list": (
        _annotate(**{objects.PROVIDERS_ANNOTATION: "crusoe"}),
        "refused: metadata.annotations computepool.io/providers",
    ),
    "no allow-list": (
        _annotate(**{objects.PROVIDERS_ANNOTATION: None}),
        "refused: metadata.annotations computepool.io/providers",
    ),
    "another say of whether it moves": (_annotate(**{MOVABLE: "true"}), f"refused: metadata.annotations {MOVABLE}"),
    "no say of whether it moves": (_annotate(**{MOVABLE: None}), f"refused: metadata.annotations {MOVABLE}"),
    "such a say as a label": ({"metadata": {"labels": {MOVABLE: "true"}}}, f"refused: metadata.labels {MOVABLE}"),
    "an annotation of its domain that it does not know": (
        _annotate(**{"computepool.io/x": "y"}),
        "refused: metadata.annotations computepool.io/x",
    ),
    "another deletion cost than its own": (_annotate(**{COST: "100"}), f"refused: metadata.annotations {COST}"),
    "another owner": (
        {"metadata": {"ownerReferences": [OTHER_OWNER]}},
        "a change of metadata.ownerReferences",
    ),
    "no owner": ({"metadata": {"ownerReferences": None}}, "a change of metadata.ownerReferences"),
    "a finalizer": ({"metadata": {"finalizers": ["example.com/hold", "x.io/y"]}}, "a change of metadata.finalizers"),
    "no finalizer": ({"metadata": {"finalizers": None}}, "a change of metadata.finalizers"),
}


@pytest.mark.parametrize(("patch", "says"), REFUSED_ON_PODS.values(), ids=REFUSED_ON_PODS.keys())
def test_the_operator_may_not_write_on_a_pod(guarded: Guarded, patch: Patch, says: str) -> None:
    assert says in _refusal(guarded.operator, "pods", POD, patch, NAMESPACE)
    _try(guarded.admin, "pods", POD, patch, NAMESPACE)


@pytest.mark.parametrize("cost", ["-100", None])
def test_the_operator_leaves_a_users_deletion_cost_alone(guarded: Guarded, cost: str | None) -> None:
    name = f"costs-{cost or 'none'}".lower()
    guarded.admin.create(objects.gpu_pod(name, annotations={COST: "5"}, nodeSelector={"no-such": "node"}), NAMESPACE)
    assert f"refused: metadata.annotations {COST}" in _refusal(
        guarded.operator, "pods", name, _annotate(**{COST: cost}), NAMESPACE
    )


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"metadata": {"labels": {"app": "x"}}}, "refused: metadata.labels app"),
        ({"metadata": {"labels": {"computepool.io/burst": "nebius"}}}, "refused: computepool.io/burst=nebius"),
        ({"metadata": {"labels": {"team": "x"}}}, ""),
    ],
    ids=["another value for a user's label", "the label of a provider that it does not tolerate", "a new label"],
)
def test_a_pod_on_a_node_keeps_the_labels_by_which_others_select_it(guarded: Guarded, patch: Patch, says: str) -> None:
    name = "on-a-node"
    if guarded.admin.find("pods", name, NAMESPACE) is None:
        guarded.admin.create(objects.gpu_pod(name, labels={"app": "train"}, nodeName="no-such-node"), NAMESPACE)
    if says:
        assert says in _refusal(guarded.operator, "pods", name, patch, NAMESPACE)
    else:
        _try(guarded.operator, "pods", name, patch, NAMESPACE)


REFUSED_ON_GATED_PODS: dict[str, tuple[Patch, str]] = {
    "lift a gate": ({"spec": {"schedulingGates": None}}, "a change of spec.schedulingGates"),
    "narrow where it goes": ({"spec": {"nodeSelector": {"zone": "x"}}}, "a change of spec.nodeSelector"),
    "give it an affinity": (
        {
            "spec": {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]
                        }
                    }
                }
            }
        },
        "a change of spec.affinity",
    ),
}


@pytest.mark.parametrize(("patch", "says"), REFUSED_ON_GATED_PODS.values(), ids=REFUSED_ON_GATED_PODS.keys())
def test_the_operator_may_not_change_what_else_is_mutable_on_a_gated_pod(
    guarded: Guarded, patch: Patch, says: str
) -> None:
    assert says in _refusal(guarded.operator, "pods", GATED, patch, NAMESPACE)
    _try(guarded.admin, "pods", GATED, patch, NAMESPACE)


def test_nobody_may_take_a_toleration_away_and_so_neither_may_the_operator(guarded: Guarded) -> None:
    with pytest.raises(ApiError, match="existing toleration can not be modified"):
        _try(guarded.operator, "pods", POD, [{"op": "remove", "path": "/spec/tolerations/0"}], NAMESPACE)


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_the_operator_leaves_pods_of_the_system_and_its_own_alone(guarded: Guarded, namespace: str) -> None:
    says = f"the operator leaves pods in namespace {namespace} alone"
    assert says in _refusal(guarded.operator, "pods", POD, _add(OURS), namespace)


# -- nodes -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_nodes(guarded: Guarded) -> Iterator[Guarded]:
    guarded.admin.create(_node())
    chart.until(lambda: _guards_nodes(guarded.operator), "the guard to take effect")
    yield guarded
    guarded.admin.delete("nodes", NODE)


def _node() -> Json:
    foreign = {"key": "maintenance", "value": "planned", "effect": "NoSchedule"}
    own = {"key": "computepool.io/unavailable", "value": "Silent", "effect": "NoSchedule"}
    return objects.gpu_node(
        NODE,
        "nebius",
        alive=False,
        taint=True,
        taints=[foreign, own],
        labels={"computepool.io/own": "x", "example.com/own": "x"},
        annotations={"computepool.io/own": "x", "example.com/own": "x"},
    )


def _guards_nodes(operator: KubeApi) -> bool:
    try:
        _try(operator, "nodes", NODE, {"metadata": {"labels": {"computepool.io/probe": "x"}}})
    except ApiError as refused:
        return "computepool-guard-nodes" in refused.message
    return False


def _taint(key: str, effect: str = "NoSchedule") -> Patch:
    return [{"op": "add", "path": "/spec/taints/-", "value": {"key": key, "effect": effect}}]


def _without(key: str) -> Patch:
    """Takes the taint of that key away, whatever the node controller has meanwhile added to the list's end."""
    return [*_still(key), {"op": "remove", "path": _path(key)}]


def _with(key: str, field: str, value: str) -> Patch:
    """Changes a field of the taint of that key."""
    return [*_still(key), {"op": "add", "path": f"{_path(key)}/{field}", "value": value}]


def _still(key: str) -> list[Json]:
    return [{"op": "test", "path": f"{_path(key)}/key", "value": key}]


def _path(key: str) -> str:
    return f"/spec/taints/{[taint['key'] for taint in _node()['spec']['taints']].index(key)}"


ALLOWED_ON_NODES: dict[str, Patch] = {
    "the end of quarantine": _without("computepool.io/unavailable"),
    "another reason for it": _with("computepool.io/unavailable", "value", "ProviderUnhealthy"),
    "nothing": {},
    "another policy's label": {"metadata": {"labels": {"team": "x"}}},
    "another policy's annotation": _annotate(**{"example.com/changed-by": "x"}),
    "another policy's value for an annotation": _annotate(**{"example.com/own": "y"}),
}


@pytest.mark.parametrize("patch", ALLOWED_ON_NODES.values(), ids=ALLOWED_ON_NODES.keys())
def test_the_operator_may_write_on_a_node(with_nodes: Guarded, patch: Patch) -> None:
    _try(with_nodes.operator, "nodes", NODE, patch)


REFUSED_ON_NODES: dict[str, tuple[Patch, str]] = {
    "a cordon": ({"spec": {"unschedulable": True}}, "a change of spec.unschedulable"),
    "a foreign taint": (_taint("other"), "computepool.io/unavailable:NoSchedule; refused: other:NoSchedule"),
    "another taint under its own domain": (_taint("computepool.io/other"), "refused: computepool.io/other:NoSchedule"),
    "a taint that ends pods": (
        _taint("computepool.io/unavailable", "NoExecute"),
        "refused: computepool.io/unavailable:NoExecute",
    ),
    "its taint made one that ends pods": (
        _with("computepool.io/unavailable", "effect", "NoExecute"),
        "refused: computepool.io/unavailable:NoExecute",
    ),
    "no more of a foreign taint": (_without("maintenance"), "refused: maintenance:NoSchedule"),
    "another value for a foreign taint": (_with("maintenance", "value", "x"), "refused: maintenance:NoSchedule"),
    "another provider's taint": (_taint(objects.PROVIDER_KEY, "NoExecute"), "refused: computepool.io/provider"),
    "no more of the provider's taint": (_without(objects.PROVIDER_KEY), "refused: computepool.io/provider"),
    "a label of Kubernetes": (
        {"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}},
        "refused: metadata.labels node.kubernetes.io/exclude-from-external-load-balancers",
    ),
    "another value for a label": (
        {"metadata": {"labels": {"example.com/own": "y"}}},
        "refused: metadata.labels example.com/own",
    ),
    "a label of its own domain": (
        {"metadata": {"labels": {"computepool.io/x": "y"}}},
        "refused: metadata.labels computepool.io/x",
    ),
    "no more of a label of its own domain": (
        {"metadata": {"labels": {"computepool.io/own": None}}},
        "refused: metadata.labels computepool.io/own",
    ),
    "no more of a label": (
        {"metadata": {"labels": {"kubernetes.io/os": None}}},
        "refused: metadata.labels kubernetes.io/os",
    ),
    "another provider": (
        {"metadata": {"labels": {objects.PROVIDER_KEY: "crusoe"}}},
        "refused: metadata.labels computepool.io/provider",
    ),
    "an annotation of Kubernetes": (
        _annotate(**{"csi.volume.kubernetes.io/nodeid": "x"}),
        "refused: metadata.annotations csi.volume.kubernetes.io/nodeid",
    ),
    "no more of an annotation": (
        _annotate(**{"example.com/own": None}),
        "refused: metadata.annotations example.com/own",
    ),
    "a finalizer": ({"metadata": {"finalizers": ["x.io/y"]}}, "a change of metadata.finalizers"),
}


@pytest.mark.parametrize(("patch", "says"), REFUSED_ON_NODES.values(), ids=REFUSED_ON_NODES.keys())
def test_the_operator_may_not_write_on_a_node(with_nodes: Guarded, patch: Patch, says: str) -> None:
    assert says in _refusal(with_nodes.operator, "nodes", NODE, patch)
    _try(with_nodes.admin, "nodes", NODE, patch)


def test_quarantine_is_put_on_a_node_with_other_taints_and_on_one_without(with_nodes: Guarded) -> None:
    bare = objects.gpu_node("bare-node", "nebius", alive=False)
    for item in (bare, _node() | {"metadata": _node()["metadata"] | {"name": "other-node"}}):
        name = item["metadata"]["name"]
        item["spec"] = {"taints": [one for one in item["spec"].get("taints", []) if one["key"] == "maintenance"]}
        with_nodes.admin.create(item)
        try:
            before, after = _quarantined(with_nodes, name, "ProviderSilent")
            assert [one for one in after if one["key"] != "computepool.io/unavailable"] == before
            (own,) = (one for one in after if one["key"] == "computepool.io/unavailable")
            assert (own["value"], own["effect"], own["timeAdded"]) == (
                "ProviderSilent",
                "NoSchedule",
                "2026-11-23T05:00:00Z",
            )
            with pytest.raises(ApiError, match="taints must be unique"):
                _try(with_nodes.operator, "nodes", name, [{"op": "add", "path": "/spec/taints/-", "value": own}])
            assert _quarantined(with_nodes, name, "")[1] == before
        finally:
            with_nodes.admin.delete("nodes", name)


def _quarantined(guarded: Guarded, name: str, value: str) -> tuple[list[Json], list[Json]]:
    """Patch a node as the operator does; return its taints before and after."""

    def attempt() -> tuple[list[Json], list[Json]] | None:
        # The node controller adds its own taints to a node whose kubelet is silent: then it is as if it had been seen
        # too late, and the patch is refused.
        seen = guarded.admin.get("nodes", name)
        patch = taint_patch(Records().node(json.dumps(seen).encode()), value, AT)
        try:
            after = guarded.operator.patch("nodes", name, patch, how="json")
        except ApiError as refused:
            if refused.status != 422:
                raise
            return None
        return seen["spec"].get("taints", []), after["spec"].get("taints", [])

    return chart.until(attempt, "the patch to go through")


def test_a_patch_of_a_node_that_was_seen_otherwise_is_refused(with_nodes: Guarded) -> None:
    seen = Records().node(json.dumps(with_nodes.admin.get("nodes", NODE)).encode())
    for before in (msgspec.structs.replace(seen, taints=()), msgspec.structs.replace(seen, taints=seen.taints[::-1])):
        stale = msgspec.structs.replace(before, resource_version=1)
        with pytest.raises(ApiError) as refused:
            _try(with_nodes.operator, "nodes", NODE, taint_patch(stale, "" if before.taints else "X", AT))
        assert refused.value.status == 422


# -- moves -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def releasing(with_nodes: Guarded, cluster: Access) -> Iterator[Guarded]:
    """The release with the right to delete pods, and pods on a node that nobody hears of."""
    chart.install(cluster, values={**chart.NO_OPERATOR_PODS, "crds.keep": False, "failover.releaseLostPods": True})
    chart.until(lambda: "uid" in _deletion(with_nodes, POD, {}), "the right to delete and its guard")
    for name, (kind, movable) in BOUND.items():
        bound = objects.gpu_pod(name, annotations={MOVABLE: movable} if movable else {}, nodeName=NODE)
        if kind:
            # Of a group that the garbage collector does not know: it leaves what nobody can look up alone.
            owner = {"apiVersion": "example.com/v1", "kind": kind, "name": "owner", "uid": OTHER_OWNER["uid"]}
            bound["metadata"]["ownerReferences"] = [owner | {"controller": kind != "ConfigMap"}]
        with_nodes.admin.create(bound, NAMESPACE)
    yield with_nodes
    for name in BOUND:
        with_nodes.admin.delete("pods", name, NAMESPACE, grace_seconds=0)
    chart.install(cluster, values={**chart.NO_OPERATOR_PODS, "crds.keep": False})


BOUND = {
    "replicated": ("ReplicaSet", ""),
    "graced": ("ReplicaSet", ""),
    "says-so": ("", "true"),
    "bare": ("", ""),
    "owned": ("ConfigMap", ""),
    "held": ("ReplicaSet", "false"),
    "daemon": ("DaemonSet", "true"),
    "mirror": ("Node", ""),
}
"""By pod: the kind of its controller (of a mere owner, where that is a ConfigMap), and its say of whether it moves."""


def _evict(guarded: Guarded, pod: str, namespace: str = NAMESPACE, uid: str = "", **options: Any) -> None:
    uid = uid or guarded.admin.get("pods", pod, namespace)["metadata"]["uid"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
        "deleteOptions": ({"preconditions": {"uid": uid}} if uid != "none" else {}) | options,
    }
    path = guarded.operator.resource("pods").path(namespace, pod, "eviction")
    guarded.operator.request("POST", path, eviction, query=DRY_RUN)


def test_the_operator_may_evict_the_very_pod_that_it_has_seen(guarded: Guarded) -> None:
    _evict(guarded, POD)
    with pytest.raises(ApiError, match="the UID in the precondition") as other:
        _evict(guarded, POD, uid="00000000-0000-0000-0000-000000000001")
    assert other.value.status == 409
    with pytest.raises(ApiError, match="the very pod that it has seen; refused, without its uid"):
        _evict(guarded, POD, uid="none")
    for seconds in (0, 30):
        with pytest.raises(ApiError, match="leaves a pod its own grace period; refused, another"):
            _evict(guarded, POD, gracePeriodSeconds=seconds)


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_the_operator_evicts_no_pod_of_the_system_and_none_of_its_own(guarded: Guarded, namespace: str) -> None:
    with pytest.raises(ApiError, match=f"leaves pods in namespace {namespace} alone"):
        _evict(guarded, POD, namespace)


def _deletion(guarded: Guarded, pod: str, options: Json, namespace: str = NAMESPACE) -> str:
    """Try to delete a pod; return what speaks against it, or nothing."""
    path = guarded.operator.resource("pods").path(namespace, pod)
    try:
        guarded.operator.request("DELETE", path, options, query=DRY_RUN)
    except ApiError as refused:
        return refused.message
    return ""


def _exactly(guarded: Guarded, pod: str, namespace: str = NAMESPACE) -> Json:
    return {"preconditions": {"uid": guarded.admin.get("pods", pod, namespace)["metadata"]["uid"]}}


def test_without_the_value_the_operator_deletes_no_pod(guarded: Guarded) -> None:
    assert "cannot delete resource" in _deletion(guarded, POD, _exactly(guarded, POD))


@pytest.mark.parametrize("pod", ["replicated", "says-so"])
def test_with_the_value_the_operator_may_delete_a_pod_that_is_not_ready_and_no_other(
    releasing: Guarded, pod: str
) -> None:
    assert "refused, without its uid" in _deletion(releasing, pod, {})
    for status, says in (("True", "pods on lost nodes; refused, one that is ready"), ("False", "")):
        ready = {"status": {"conditions": [{"type": "Ready", "status": status}]}}
        releasing.admin.patch("pods", pod, ready, NAMESPACE, subresource="status")
        refused = _deletion(releasing, pod, _exactly(releasing, pod))
        assert says in refused if says else not refused


@pytest.mark.parametrize("seconds", [0, 7])
def test_the_operator_may_not_cut_a_pods_grace_period(releasing: Guarded, seconds: int) -> None:
    says = _deletion(releasing, "graced", _exactly(releasing, "graced") | {"gracePeriodSeconds": seconds})
    assert "leaves a pod its own grace period; refused, another" in says


NOT_DELETED = {
    POD: "pods on lost nodes; refused, one that is on no node",
    "bare": "refused, one without a controller",
    "owned": "refused, one without a controller",
    "held": 'whose annotation computepool.io/movable is "false"',
    "daemon": "deletes no pod that belongs to its node; refused, one of a DaemonSet",
    "mirror": "deletes no pod that belongs to its node; refused, one of a Node",
}


@pytest.mark.parametrize(("pod", "says"), NOT_DELETED.items(), ids=NOT_DELETED.keys())
def test_even_with_the_value_the_operator_deletes_no_pod_that_may_not_move(
    releasing: Guarded, pod: str, says: str
) -> None:
    assert says in _deletion(releasing, pod, _exactly(releasing, pod))


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_even_with_the_value_the_operator_deletes_no_pod_of_the_system(releasing: Guarded, namespace: str) -> None:
    says = f"leaves pods in namespace {namespace} alone"
    assert says in _deletion(releasing, POD, _exactly(releasing, POD, namespace), namespace)
