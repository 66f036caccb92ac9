"""What the guard lets the operator's ServiceAccount write on a node, tried with its own token."""

import json

import msgspec
import pytest

from computepool.act.tainter import taint_patch
from computepool.observe.decode import Records
from e2e import chart, objects
from e2e.kubeapi import ApiError
from tests.e2e.guard.guarded import NODE, Guarded, Json, Patch, annotate, node, refusal, try_patch

AT = 1_795_410_000.0
"""2026-11-23T05:00:00Z."""


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
    return f"/spec/taints/{[taint['key'] for taint in node()['spec']['taints']].index(key)}"


ALLOWED_ON_NODES: dict[str, Patch] = {
    "the end of quarantine": _without("computepool.io/unavailable"),
    "another reason for it": _with("computepool.io/unavailable", "value", "ProviderUnhealthy"),
    "nothing": {},
    "another policy's label": {"metadata": {"labels": {"team": "x"}}},
    "another policy's annotation": annotate(**{"example.com/changed-by": "x"}),
    "another policy's value for an annotation": annotate(**{"example.com/own": "y"}),
}


@pytest.mark.parametrize("patch", ALLOWED_ON_NODES.values(), ids=ALLOWED_ON_NODES.keys())
def test_the_operator_may_write_on_a_node(with_nodes: Guarded, patch: Patch) -> None:
    try_patch(with_nodes.operator, "nodes", NODE, patch)


REFUSED_ON_NODES: dict[str, tuple[Patch, str]] = {
    "a cordon": ({"spec": {"unschedulable": True}}, "changes spec.unschedulable"),
    "a foreign taint": (_taint("other"), "computepool.io/unavailable:NoSchedule; this write changes other:NoSchedule"),
    "another taint under its own domain": (
        _taint("computepool.io/other"),
        "changes computepool.io/other:NoSchedule",
    ),
    "a taint that ends pods": (
        _taint("computepool.io/unavailable", "NoExecute"),
        "changes computepool.io/unavailable:NoExecute",
    ),
    "its taint made one that ends pods": (
        _with("computepool.io/unavailable", "effect", "NoExecute"),
        "changes computepool.io/unavailable:NoExecute",
    ),
    "no more of a foreign taint": (_without("maintenance"), "changes maintenance:NoSchedule"),
    "another value for a foreign taint": (
        _with("maintenance", "value", "x"),
        "changes maintenance:NoSchedule",
    ),
    "another provider's taint": (
        _taint(objects.PROVIDER_KEY, "NoExecute"),
        "changes computepool.io/provider",
    ),
    "no more of the provider's taint": (_without(objects.PROVIDER_KEY), "changes computepool.io/provider"),
    "a label of Kubernetes": (
        {"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}},
        "changes metadata.labels node.kubernetes.io/exclude-from-external-load-balancers",
    ),
    "another value for a label": (
        {"metadata": {"labels": {"example.com/own": "y"}}},
        "changes metadata.labels example.com/own",
    ),
    "a label of its own domain": (
        {"metadata": {"labels": {"computepool.io/x": "y"}}},
        "changes metadata.labels computepool.io/x",
    ),
    "no more of a label of its own domain": (
        {"metadata": {"labels": {"computepool.io/own": None}}},
        "changes metadata.labels computepool.io/own",
    ),
    "no more of a label": (
        {"metadata": {"labels": {"kubernetes.io/os": None}}},
        "changes metadata.labels kubernetes.io/os",
    ),
    "another provider": (
        {"metadata": {"labels": {objects.PROVIDER_KEY: "crusoe"}}},
        "changes metadata.labels computepool.io/provider",
    ),
    "an annotation of Kubernetes": (
        annotate(**{"csi.volume.kubernetes.io/nodeid": "x"}),
        "changes metadata.annotations csi.volume.kubernetes.io/nodeid",
    ),
    "no more of an annotation": (
        annotate(**{"example.com/own": None}),
        "changes metadata.annotations example.com/own",
    ),
    "a finalizer": ({"metadata": {"finalizers": ["x.io/y"]}}, "changes metadata.finalizers"),
}


@pytest.mark.parametrize(("patch", "says"), REFUSED_ON_NODES.values(), ids=REFUSED_ON_NODES.keys())
def test_the_operator_may_not_write_on_a_node(with_nodes: Guarded, patch: Patch, says: str) -> None:
    assert says in refusal(with_nodes.operator, "nodes", NODE, patch)
    try_patch(with_nodes.admin, "nodes", NODE, patch)


def test_quarantine_is_put_on_a_node_with_other_taints_and_on_one_without(with_nodes: Guarded) -> None:
    bare = objects.gpu_node("bare-node", "nebius", alive=False)
    for item in (bare, node() | {"metadata": node()["metadata"] | {"name": "other-node"}}):
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
                try_patch(with_nodes.operator, "nodes", name, [{"op": "add", "path": "/spec/taints/-", "value": own}])
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
            try_patch(with_nodes.operator, "nodes", NODE, taint_patch(stale, "" if before.taints else "X", AT))
        assert refused.value.status == 422
