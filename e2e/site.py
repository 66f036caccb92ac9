"""One test's corner of a shared cluster: a namespace and nodes of its own, and everything gone when it ends."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from e2e import objects, stages
from e2e.access import Access

Json = dict[str, Any]

SITE_LABEL = "e2e.computepool.io/site"


class Site:
    """A namespace, and nodes that carry the site's label."""

    def __init__(self, cluster: Access, labels: Mapping[str, str] | None = None) -> None:
        """Create the namespace, with labels of its own if a pool is to select by them."""
        self.cluster = cluster
        self.api = cluster.api
        self.namespace = f"t-{secrets.token_hex(4)}"
        self.labels = {SITE_LABEL: self.namespace}
        self.api.create(objects.namespace(self.namespace, self.labels | dict(labels or {})))
        self._nodes: set[str] = set()

    # -- nodes -----------------------------------------------------------------------------------------------------

    def add_nodes(self, provider: str, count: int = 1, *, wait: bool = True, **how: Any) -> list[str]:
        """Add nodes of a provider, described as for `objects.gpu_node`, and wait until they are schedulable.

        Their names are new ones of this site; they also carry its label. Returns the names.
        """
        labels = dict(how.pop("labels", None) or {}) | self.labels
        names = [f"{self.namespace}-{provider}-{len(self._nodes) + index}" for index in range(count)]
        self.api.create_many([objects.gpu_node(name, provider, labels=labels, **how) for name in names])
        self._nodes.update(names)
        if wait:
            self.wait_schedulable(names)
        return names

    def add_taken_node(self, provider: str, gpus: int) -> None:
        """Add a node and as many pods as have room on it, `resident-0` and so on (app=resident), and wait for those."""
        self.add_nodes(provider, gpus=gpus)
        self.create(*objects.gpu_pods("resident", gpus, labels={"app": "resident"}))
        self.wait_bound(gpus, labels="app=resident")

    def wait_schedulable(self, names: Iterable[str], timeout: float = 60) -> None:
        """Wait until all these nodes are Ready and free of the node controller's taints."""
        wanted = set(names)
        self.api.wait_for(
            "nodes",
            lambda nodes: wanted <= {node["metadata"]["name"] for node in nodes if objects.is_schedulable(node)},
            labels=self._selector,
            timeout=timeout,
            what=f"{len(wanted)} schedulable nodes",
        )

    def nodes(self) -> list[Json]:
        """The site's nodes as they are now."""
        return self.api.list("nodes", labels=self._selector)

    def remove_nodes(self, names: Iterable[str]) -> None:
        """Delete nodes, as an autoscaler would that scales down."""
        gone = set(names)
        self.api.delete_many("nodes", gone)
        self._nodes -= gone

    def silence(self, names: Iterable[str]) -> None:
        """Let these nodes' kubelets die: their Leases are renewed no more, and their pods are left as they are."""
        for name in names:
            self.api.patch("nodes", name, {"metadata": {"labels": {stages.KUBELET_LABEL: None}}})

    def revive(self, names: Iterable[str]) -> None:
        """Let silenced nodes' kubelets live again."""
        for name in names:
            self.api.patch("nodes", name, {"metadata": {"labels": {stages.KUBELET_LABEL: stages.KUBELET_ALIVE}}})

    def break_nodes(self, names: Iterable[str], reason: str = "KubeletNotReady") -> None:
        """Let these nodes say Ready=False, with their kubelets alive."""
        for name in names:
            self.api.patch("nodes", name, {"metadata": {"annotations": {stages.NODE_NOT_READY: reason}}})

    def mend_nodes(self, names: Iterable[str]) -> None:
        """Let broken nodes be Ready again."""
        for name in names:
            self.api.patch("nodes", name, {"metadata": {"annotations": {stages.NODE_NOT_READY: None}}})

    # -- workloads -------------------------------------------------------------------------------------------------

    def create(self, *manifests: Json) -> list[Json]:
        """Create objects in the site's namespace; many go over several connections at once."""
        if len(manifests) == 1:
            return [self.api.create(manifests[0], self.namespace)]
        return self.api.create_many(manifests, self.namespace)

    def pods(self, labels: str | None = None) -> list[Json]:
        """The site's pods as they are now."""
        return self.api.list("pods", self.namespace, labels=labels)

    def wait_bound(self, count: int, *, labels: str | None = None, timeout: float = 60) -> list[Json]:
        """Wait until at least so many of the site's pods are bound, and return those."""
        return self.api.wait_for(
            "pods",
            lambda pods: bound if len(bound := [pod for pod in pods if objects.is_bound(pod)]) >= count else None,
            self.namespace,
            labels=labels,
            timeout=timeout,
            what=f"{count} bound pods",
        )

    def wait_unschedulable(self, count: int, *, labels: str | None = None, timeout: float = 60) -> list[Json]:
        """Wait until the scheduler has given up on at least so many of the site's pods, and return those."""
        return self.api.wait_for(
            "pods",
            lambda pods: held if len(held := [pod for pod in pods if objects.is_unschedulable(pod)]) >= count else None,
            self.namespace,
            labels=labels,
            timeout=timeout,
            what=f"{count} unschedulable pods",
        )

    def providers_of(self, pods: Iterable[Json]) -> dict[str, int]:
        """How many of these pods are on which provider's nodes; unbound ones count as ""."""
        provider = {node["metadata"]["name"]: node["metadata"]["labels"][objects.PROVIDER_KEY] for node in self.nodes()}
        counted: dict[str, int] = {}
        for pod in pods:
            where = provider.get(pod["spec"].get("nodeName", ""), "")
            counted[where] = counted.get(where, 0) + 1
        return counted

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Remove the namespace, its pods and the nodes, and wait until pods and nodes are gone.

        The rest of the namespace goes in the background. It is told to go first, so that no controller makes new pods,
        and pods go by force, since those on silent nodes have no kubelet that would let them go.
        """
        self.api.delete("namespaces", self.namespace)
        self.api.wait_for(
            "namespaces",
            lambda found: not found or found[0]["status"]["phase"] == "Terminating",
            name=self.namespace,
            what="the namespace to be closing",
        )
        self.api.delete_all("pods", self.namespace, grace_seconds=0)
        self.api.wait_for("pods", lambda pods: not pods, self.namespace, timeout=60, what="no pods")
        self.api.delete_all("nodes", labels=self._selector, grace_seconds=0)
        self.api.wait_for("nodes", lambda nodes: not nodes, labels=self._selector, what="no nodes")

    @property
    def _selector(self) -> str:
        return f"{SITE_LABEL}={self.namespace}"
