"""What the tests of the guard share: the objects that are written to, and writes with the operator's own token.

Writes are dry runs: authorization and admission run in full, and each case starts from the same objects.
"""

from secrets import token_hex
from typing import Any

import pytest

from e2e import chart, objects
from e2e.chart import DRY_RUN
from e2e.cluster import Access
from e2e.kubeapi import ApiError, KubeApi

Json = dict[str, Any]
Patch = Json | list[Json]

POD = "pod"
GATED = "gated"
NODE = "guarded-node"
MOVABLE = "computepool.io/movable"
COST = "controller.kubernetes.io/pod-deletion-cost"
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
        self.namespace = f"guarded-{token_hex(4)}"
        self.admin = cluster.api
        self.operator = cluster.api_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)


def pod_of(name: str, owner: Json, **spec: Any) -> Json:
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


def add(*tolerations: Json) -> Patch:
    return [{"op": "add", "path": "/spec/tolerations/-", "value": one} for one in tolerations]


def annotate(**annotations: str | None) -> Patch:
    return {"metadata": {"annotations": annotations}}


def try_patch(api: KubeApi, kind: str, name: str, patch: Patch, namespace: str | None = None) -> Json:
    how = "application/json-patch+json" if isinstance(patch, list) else "application/merge-patch+json"
    return api.request("PATCH", api.resource(kind).path(namespace, name), patch, query=DRY_RUN, content_type=how)


def refusal(api: KubeApi, kind: str, name: str, patch: Patch, namespace: str | None = None) -> str:
    """The message of a write that the guard must refuse."""
    with pytest.raises(ApiError) as refused:
        try_patch(api, kind, name, patch, namespace)
    assert refused.value.status == 403
    return refused.value.message


def node() -> Json:
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
