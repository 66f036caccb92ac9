"""What the guard lets the operator's ServiceAccount write on a pod, tried with its own token."""

import pytest

from e2e import chart, objects
from e2e.kubeapi import ApiError
from tests.e2e.guard.guarded import (
    COST,
    DEFAULTS,
    FOR_A_WHILE,
    GATED,
    LIQO,
    MINE,
    MOVABLE,
    OTHER_OWNER,
    OURS,
    POD,
    SERVER_DEFAULT,
    Guarded,
    Patch,
    add,
    annotate,
    refusal,
    try_patch,
)

ALLOWED_ON_PODS: dict[str, Patch] = {
    "a toleration for a standby": add(OURS),
    "several tolerations with keys of the list": add(
        OURS, {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
    ),
    "a toleration, only if the pod is as it was seen": [
        {"op": "test", "path": "/spec/tolerations/0", "value": MINE},
        *add(OURS),
    ],
    "the whole list of tolerations, those that are there and ours": {
        "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]}
    },
    "its label, beside the toleration": {
        "metadata": {"labels": {"computepool.io/burst": "nebius"}},
        "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]},
    },
    "its annotations": annotate(
        **{"computepool.io/offers": "nebius=2026-11-23T05:00:00Z", "computepool.io/signals": "queue"}
    ),
    "the pod's deletion cost": annotate(**{COST: "-100"}),
    "nothing": {},
    "what the API server itself adds to a pod that lacks it": add(SERVER_DEFAULT | {"tolerationSeconds": 299}),
    "what a plugin of the API server adds": add(
        {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    ),
    # An admission policy sees the object after all mutation, so what other policies add is allowed to the operator.
    "another policy's label": {"metadata": {"labels": {"team": "x"}}},
    "another policy's label with a domain": {"metadata": {"labels": {"app.kubernetes.io/part-of": "x"}}},
    "another policy's value for a label of a pod that waits": {"metadata": {"labels": {"app": "x"}}},
    "another policy's annotation": annotate(**{"example.com/changed-by": "x"}),
    "another policy's value for an annotation": annotate(note="x"),
    "another policy's word to an autoscaler": annotate(**{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}),
    "another policy's toleration": add({"key": "example.com/team", "value": "x", "effect": "NoSchedule"}),
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
    try_patch(guarded.operator, "pods", POD, patch, guarded.namespace)


def test_the_operator_may_take_back_its_own_label_and_annotations(guarded: Guarded) -> None:
    keys = {"computepool.io/offers": "x", "computepool.io/signals": "x", COST: "-100"}
    mine = objects.gpu_pod(
        "marked", labels={"computepool.io/burst": "x"}, annotations=keys, nodeSelector={"no-such": "node"}
    )
    guarded.admin.create(mine, guarded.namespace)
    gone: Patch = {
        "metadata": {"labels": {"computepool.io/burst": None}, "annotations": dict.fromkeys(keys)},
    }
    try_patch(guarded.operator, "pods", "marked", gone, guarded.namespace)


REFUSED_ON_PODS: dict[str, tuple[Patch, str]] = {
    "an image": ([{"op": "replace", "path": "/spec/containers/0/image", "value": "x"}], "changes spec.containers"),
    "a deadline": ({"spec": {"activeDeadlineSeconds": 1}}, "changes spec.activeDeadlineSeconds"),
    "a toleration of the control plane": (
        add(OURS, {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}),
        'the toleration "node-role.kubernetes.io/control-plane" (Exists "", effect "NoSchedule"); the chart\'s value '
        "guard.tolerationKeys",
    ),
    "a toleration of everything": (add({"operator": "Exists"}), 'the toleration "" (Exists'),
    "a toleration of quarantined nodes": (
        add({"key": "computepool.io/unavailable", "operator": "Exists", "effect": "NoSchedule"}),
        'the toleration "computepool.io/unavailable"',
    ),
    "a toleration of all providers": (
        add({"key": objects.PROVIDER_KEY, "operator": "Exists", "effect": "NoSchedule"}),
        'the toleration "computepool.io/provider" (Exists "", effect "NoSchedule")',
    ),
    "a toleration of a provider without a name": (
        add({"key": objects.PROVIDER_KEY, "effect": "NoSchedule"}),
        'the toleration "computepool.io/provider" (Equal ""',
    ),
    "a toleration of a provider for a time": (
        add(OURS | {"effect": "NoExecute", "tolerationSeconds": 0}),
        '(Equal "nebius", effect "NoExecute", 0 s)',
    ),
    "a foreign toleration that ends no stay": (
        add({"key": "example.com/gone", "operator": "Exists", "effect": "NoExecute"}),
        'the toleration "example.com/gone" (Exists "", effect "NoExecute")',
    ),
    "a foreign toleration of all effects": (
        add({"key": "example.com/gone", "operator": "Exists"}),
        'the toleration "example.com/gone" (Exists "", effect "")',
    ),
    "a toleration of dead nodes for ever": (add(SERVER_DEFAULT), 'the toleration "node.kubernetes.io/not-ready"'),
    "a toleration of dead nodes for very long": (
        add(SERVER_DEFAULT | {"tolerationSeconds": 1_000_000_000}),
        'effect "NoExecute", 1000000000 s)',
    ),
    "a toleration of dead nodes for a little longer": (
        add(SERVER_DEFAULT | {"tolerationSeconds": 301}),
        'effect "NoExecute", 301 s)',
    ),
    "no stay on dead nodes": (add(SERVER_DEFAULT | {"tolerationSeconds": 0}), 'effect "NoExecute", 0 s)'),
    "the label of a provider that it does not tolerate": (
        {"metadata": {"labels": {"computepool.io/burst": "nebius"}}},
        "the pod tolerates; this write sets computepool.io/burst=nebius; the chart's value guard.tolerationKeys",
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
        'sets computepool.io/burst=edge with a toleration of "example.com/edge"; the chart\'s value',
    ),
    "the label of another provider than the tolerated": (
        {
            "metadata": {"labels": {"computepool.io/burst": "crusoe"}},
            "spec": {"tolerations": [MINE, FOR_A_WHILE, *DEFAULTS, OURS]},
        },
        "whose taint the pod tolerates; this write sets computepool.io/burst=crusoe",
    ),
    "a longer stay for a toleration that is there": (
        {"spec": {"tolerations": [MINE, FOR_A_WHILE | {"tolerationSeconds": 600}, *DEFAULTS]}},
        "this write removes or changes a toleration",
    ),
    "a label of its own domain": (
        {"metadata": {"labels": {"computepool.io/x": "y"}}},
        "changes metadata.labels computepool.io/x",
    ),
    "a label of Kubernetes": (
        {"metadata": {"labels": {"batch.kubernetes.io/job-name": "y"}}},
        "changes metadata.labels batch.kubernetes.io/job-name",
    ),
    "no more of a user's label": ({"metadata": {"labels": {"app": None}}}, "changes metadata.labels app"),
    "all labels gone": ({"metadata": {"labels": None}}, "changes metadata.labels app"),
    "no more of a user's annotation": (annotate(note=None), "changes metadata.annotations note"),
    "an annotation of Kubernetes": (
        annotate(**{"kubernetes.io/limit-ranger": "x"}),
        "changes metadata.annotations kubernetes.io/limit-ranger",
    ),
    "another allow-list": (
        annotate(**{objects.PROVIDERS_ANNOTATION: "crusoe"}),
        "changes metadata.annotations computepool.io/providers",
    ),
    "no allow-list": (
        annotate(**{objects.PROVIDERS_ANNOTATION: None}),
        "changes metadata.annotations computepool.io/providers",
    ),
    "another say of whether it moves": (
        annotate(**{MOVABLE: "true"}),
        f"changes metadata.annotations {MOVABLE}",
    ),
    "no say of whether it moves": (annotate(**{MOVABLE: None}), f"changes metadata.annotations {MOVABLE}"),
    "such a say as a label": (
        {"metadata": {"labels": {MOVABLE: "true"}}},
        f"changes metadata.labels {MOVABLE}",
    ),
    "an annotation of its domain that it does not know": (
        annotate(**{"computepool.io/x": "y"}),
        "changes metadata.annotations computepool.io/x",
    ),
    "another deletion cost than its own": (
        annotate(**{COST: "100"}),
        f"changes metadata.annotations {COST}",
    ),
    "another owner": (
        {"metadata": {"ownerReferences": [OTHER_OWNER]}},
        "changes metadata.ownerReferences",
    ),
    "no owner": ({"metadata": {"ownerReferences": None}}, "changes metadata.ownerReferences"),
    "a finalizer": ({"metadata": {"finalizers": ["example.com/hold", "x.io/y"]}}, "changes metadata.finalizers"),
    "no finalizer": ({"metadata": {"finalizers": None}}, "changes metadata.finalizers"),
}


@pytest.mark.parametrize(("patch", "says"), REFUSED_ON_PODS.values(), ids=REFUSED_ON_PODS.keys())
def test_the_operator_may_not_write_on_a_pod(guarded: Guarded, patch: Patch, says: str) -> None:
    assert says in refusal(guarded.operator, "pods", POD, patch, guarded.namespace)
    try_patch(guarded.admin, "pods", POD, patch, guarded.namespace)


@pytest.mark.parametrize("cost", ["-100", None])
def test_the_operator_leaves_a_users_deletion_cost_alone(guarded: Guarded, cost: str | None) -> None:
    name = f"costs-{cost or 'none'}".lower()
    guarded.admin.create(
        objects.gpu_pod(name, annotations={COST: "5"}, nodeSelector={"no-such": "node"}), guarded.namespace
    )
    assert f"changes metadata.annotations {COST}" in refusal(
        guarded.operator, "pods", name, annotate(**{COST: cost}), guarded.namespace
    )


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"metadata": {"labels": {"app": "x"}}}, "changes metadata.labels app"),
        ({"metadata": {"labels": {"computepool.io/burst": "nebius"}}}, "sets computepool.io/burst=nebius"),
        ({"metadata": {"labels": {"team": "x"}}}, ""),
    ],
    ids=["another value for a user's label", "the label of a provider that it does not tolerate", "a new label"],
)
def test_a_pod_on_a_node_keeps_the_labels_by_which_others_select_it(guarded: Guarded, patch: Patch, says: str) -> None:
    name = "on-a-node"
    if guarded.admin.find("pods", name, guarded.namespace) is None:
        guarded.admin.create(objects.gpu_pod(name, labels={"app": "train"}, nodeName="no-such-node"), guarded.namespace)
    if says:
        assert says in refusal(guarded.operator, "pods", name, patch, guarded.namespace)
    else:
        try_patch(guarded.operator, "pods", name, patch, guarded.namespace)


REFUSED_ON_GATED_PODS: dict[str, tuple[Patch, str]] = {
    "lift a gate": ({"spec": {"schedulingGates": None}}, "changes spec.schedulingGates"),
    "narrow where it goes": ({"spec": {"nodeSelector": {"zone": "x"}}}, "changes spec.nodeSelector"),
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
        "changes spec.affinity",
    ),
}


@pytest.mark.parametrize(("patch", "says"), REFUSED_ON_GATED_PODS.values(), ids=REFUSED_ON_GATED_PODS.keys())
def test_the_operator_may_not_change_what_else_is_mutable_on_a_gated_pod(
    guarded: Guarded, patch: Patch, says: str
) -> None:
    assert says in refusal(guarded.operator, "pods", GATED, patch, guarded.namespace)
    try_patch(guarded.admin, "pods", GATED, patch, guarded.namespace)


def test_nobody_may_take_a_toleration_away_and_so_neither_may_the_operator(guarded: Guarded) -> None:
    with pytest.raises(ApiError, match="existing toleration can not be modified"):
        try_patch(guarded.operator, "pods", POD, [{"op": "remove", "path": "/spec/tolerations/0"}], guarded.namespace)


@pytest.mark.parametrize("namespace", ["kube-system", chart.NAMESPACE])
def test_the_operator_leaves_pods_of_the_system_and_its_own_alone(guarded: Guarded, namespace: str) -> None:
    says = f"the operator leaves pods in namespace {namespace} alone"
    assert says in refusal(guarded.operator, "pods", POD, add(OURS), namespace)
