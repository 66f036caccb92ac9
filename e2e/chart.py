"""Installs the chart on a test cluster with the real Helm, and makes the objects that the operator would add.

    with chart.installed(cluster):
        operator = cluster.api_for(chart.SERVICE_ACCOUNT, chart.NAMESPACE)

The names of policies are fixed, so a cluster holds one release at a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from e2e.cluster import REPOSITORY, Access
from e2e.errors import WaitTimeoutError
from e2e.kubeapi import ApiError
from e2e.pools import POOLS

Json = dict[str, Any]
T = TypeVar("T")

CHART = REPOSITORY / "charts" / "computepool"
RELEASE = "computepool"
LEADER_RECORD = "computepool-leader"
LEADER_ANNOTATION = "computepool.io/leader"
NAMESPACE = "computepool-system"
SERVICE_ACCOUNT = "computepool"
SOURCE_CONFIG = "computepool-prometheus"
BURST_POLICY = "computepool-burst"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
GUARD_POLICIES = (
    "computepool-guard-pods",
    "computepool-guard-nodes",
    "computepool-guard-moves",
    "computepool-guard-leader",
)
CLEANUP_ACCOUNT = "computepool-cleanup"
CHECK_ACCOUNT = "computepool-check"
# Nothing can run the image here: the operator runs as a process beside the cluster, with the ServiceAccount's token.
NO_OPERATOR_PODS: Mapping[str, Any] = {"replicas": 0}
# Nor what an uninstall runs afterwards; most clusters here have no node that would play it either.
NO_CLEANUP: Mapping[str, Any] = {"cleanup.enabled": False}
# Nothing pulls it.
IMAGE: Mapping[str, Any] = {"image.repository": "registry.example.com/computepool"}
DRY_RUN = {"dryRun": "All"}


def install(cluster: Access, namespace: str = NAMESPACE, values: Mapping[str, Any] = NO_OPERATOR_PODS) -> str:
    """Install the chart, or upgrade the release that is there, and return what Helm printed.

    `values` are laid over the chart's own, and over that an uninstall runs nothing. Raises CommandError with Helm's
    words where it refuses.
    """
    return cluster.helm(
        *("upgrade", RELEASE, str(CHART), "--install", "--create-namespace", "--namespace", namespace),
        *value_flags({**NO_CLEANUP, **values}),
    )


def value_flags(values: Mapping[str, Any]) -> list[str]:
    """Helm's flags that set these values, and an image unless they name one."""
    return [f"--set-json={key}={json.dumps(value)}" for key, value in {**IMAGE, **values}.items()]


def rendered(cluster: Access, template: str, values: Mapping[str, Any] = MappingProxyType({})) -> str:
    """What the release makes of one template, such as "cleanup.yaml"."""
    shown = ("--show-only", f"templates/{template}")
    return cluster.helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *shown, *value_flags(values))


def source_flags(cluster: Access, namespace: str = NAMESPACE) -> list[str]:
    """The flags by which an operator beside the cluster reads what the release says of the source of metrics.

    It takes them from the ConfigMap that the release mounts into its pods. Secrets are not among them.
    """
    mounted = cluster.api.get("configmaps", SOURCE_CONFIG, namespace)["data"]
    file = cluster.layout.folder / "prometheus.yaml"
    file.write_text(mounted["prometheus.yaml"], encoding="utf-8")
    return ["--prometheus-config", str(file)]


def uninstall(cluster: Access, namespace: str = NAMESPACE) -> None:
    """Uninstall the release and wait until its own objects are gone; what they own follows. It need not be there."""
    if cluster.api.find(CRDS, POOLS):
        # One that is deleted before the API server has begun to serve its objects may be on its way for many minutes,
        # with "storage is (re)initializing".
        until(lambda: _served(cluster), "pools to be served")
    # Not Helm's --wait: on a busy machine it takes an object it has not heard of yet for gone, and then complains.
    cluster.helm("uninstall", RELEASE, "--namespace", namespace, "--ignore-not-found")
    # All else has no finalizer and is gone at once; a definition that goes takes its pools with it first.
    cluster.api.wait_for(CRDS, _none_is_going, what="the definition to be gone")


def record_leader(cluster: Access, name: str, namespace: str = NAMESPACE) -> None:
    """Let the fence in the API server take a writer that is no operator for the leader."""
    cluster.api.patch(
        "serviceaccounts", LEADER_RECORD, {"metadata": {"annotations": {LEADER_ANNOTATION: name}}}, namespace
    )


def _served(cluster: Access) -> bool:
    try:
        cluster.api.list(POOLS)
    except ApiError:
        return False
    return True


def _none_is_going(found: list[Json]) -> bool:
    return not any("deletionTimestamp" in item["metadata"] for item in found)


@contextmanager
def installed(
    cluster: Access, namespace: str = NAMESPACE, values: Mapping[str, Any] = NO_OPERATOR_PODS
) -> Iterator[None]:
    """The chart, installed for as long as the block lasts; pools and their definition go with it."""
    install(cluster, namespace, {"crds": {"enabled": True, "keep": False}} | dict(values))
    try:
        yield
    finally:
        uninstall(cluster, namespace)


def binding(pool: str, policy: Json, match: Json | None = None) -> Json:
    """The binding that opens the way from the burst policy to a pool; `match` are its namespace and object selectors.

    It is owned by the policy, so that it is collected when the release is uninstalled.
    """
    owner = {
        "apiVersion": policy["apiVersion"],
        "kind": policy["kind"],
        "name": policy["metadata"]["name"],
        "uid": policy["metadata"]["uid"],
        "blockOwnerDeletion": False,
        "controller": False,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {
            "name": f"computepool-{pool}",
            "labels": {"app.kubernetes.io/managed-by": "computepool", "computepool.io/pool": pool},
            "ownerReferences": [owner],
        },
        "spec": {
            "policyName": policy["metadata"]["name"],
            "paramRef": {"name": pool, "parameterNotFoundAction": "Allow"},
            **({"matchResources": match} if match else {}),
        },
    }


def until(probe: Callable[[], T | None], what: str, timeout: float = 30) -> T:
    """Ask again and again until the answer is true, and return it: an admission policy takes effect a moment after it
    was written, and there is nothing to watch that would tell when. Raises WaitTimeoutError.
    """
    deadline = time.monotonic() + timeout
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise WaitTimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.02)
    return answer
