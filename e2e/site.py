"""A site: one test's own namespace and nodes in a shared cluster. All of it is deleted at the end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from e2e import objects, stages
from e2e.access import Access
from e2e.blackhole import BlackHoles
from e2e.kubeapi import ApiError

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
        self._black_holes = BlackHoles(self.api, self.namespace)

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
        self._wait_nodes(names, objects.is_schedulable, "schedulable nodes", timeout)

    def nodes(self) -> list[Json]:
        """The site's nodes as they are now."""
        return self.api.list("nodes", labels=self.selector)

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

    def wait_unknown(self, names: Iterable[str], timeout: float = 60) -> None:
        """Wait until the node controller has given up on these silenced nodes: the status of their Ready is Unknown.

        That takes 50 s, unless the cluster's options say otherwise (see `components.QUICK_UNKNOWN`).
        """
        self._wait_nodes(
            names, lambda node: objects.condition_of(node, "Ready") == "Unknown", "nodes of status Unknown", timeout
        )

    def set_condition(self, names: Iterable[str], kind: str, status: str, reason: str = "Told") -> None:
        """Let these nodes carry a condition of their own, as a problem detector would; kwok leaves it as it is."""
        condition = {"type": kind, "status": status, "reason": reason, "message": "told by a test"}
        for name in names:
            self._patch_status(name, {"conditions": [condition]})

    def set_devices(self, names: Iterable[str], count: int, resource: str = objects.ACCELERATOR) -> None:
        """Let so many of these nodes' devices be healthy, 0 where the plugin has died; the capacity stays."""
        for name in names:
            self._patch_status(name, {"allocatable": {resource: str(count)}})

    def lose_plugin(self, names: Iterable[str], resource: str = objects.ACCELERATOR) -> None:
        """Let these nodes' kubelets have been restarted without the device plugin: capacity and allocatable are 0."""
        for name in names:
            self._patch_status(name, {"capacity": {resource: "0"}, "allocatable": {resource: "0"}})

    def make_black_holes(self, names: Iterable[str], reason: str = "UnexpectedAdmissionError") -> None:
        """Let these nodes, and no others of the site, fail at once all pods that are bound to them from now on."""
        self._black_holes.dig(names, reason)

    def fill_black_holes(self) -> None:
        """Let black holes run their pods again."""
        self._black_holes.fill()

    def taint(self, names: Iterable[str], key: str, value: str = "", effect: str = "NoSchedule") -> None:
        """Add a taint, such as one that announces the nodes' removal."""
        self._change_taints(names, key, [{"key": key, "effect": effect, **({"value": value} if value else {})}])

    def untaint(self, names: Iterable[str], key: str) -> None:
        """Take the taints of a key away."""
        self._change_taints(names, key, [])

    def cordon(self, names: Iterable[str], *, on: bool = True) -> None:
        """Mark nodes as unschedulable, or as schedulable again."""
        for name in names:
            self.api.patch("nodes", name, {"spec": {"unschedulable": on}})

    def _wait_nodes(self, names: Iterable[str], is_so: Callable[[Json], bool], what: str, timeout: float) -> None:
        wanted = set(names)

        def all_so(nodes: list[Json]) -> bool:
            return wanted <= {node["metadata"]["name"] for node in nodes if is_so(node)}

        self.api.wait_for("nodes", all_so, labels=self.selector, timeout=timeout, what=f"{len(wanted)} {what}")

    def _patch_status(self, name: str, status: Json) -> None:
        # Merged by the conditions' types, so that others stay.
        self.api.patch("nodes", name, {"status": status}, how="strategic", subresource="status")

    def _change_taints(self, names: Iterable[str], key: str, added: list[Json]) -> None:
        """Replace the taints of a key; others write taints too, so a change in between is looked at again."""
        for name in names:
            while True:
                node = self.api.get("nodes", name)
                kept = [taint for taint in node["spec"].get("taints", []) if taint["key"] != key]
                version = node["metadata"]["resourceVersion"]
                patch = {"metadata": {"resourceVersion": version}, "spec": {"taints": [*kept, *added]}}
                try:
                    self.api.patch("nodes", name, patch)
                except ApiError as error:
                    if error.status != 409:
                        raise
                else:
                    break

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
        return self._wait_pods(count, "bound", objects.is_bound, labels, timeout)

    def wait_unschedulable(self, count: int, *, labels: str | None = None, timeout: float = 60) -> list[Json]:
        """Wait until the scheduler has given up on at least so many of the site's pods, and return those."""
        return self._wait_pods(count, "unschedulable", objects.is_unschedulable, labels, timeout)

    def _wait_pods(
        self, count: int, word: str, is_so: Callable[[Json], bool], labels: str | None, timeout: float
    ) -> list[Json]:
        def enough(pods: list[Json]) -> list[Json] | None:
            found = [pod for pod in pods if is_so(pod)]
            return found if len(found) >= count else None

        what = f"{count} {word} pods"
        return self.api.wait_for("pods", enough, self.namespace, labels=labels, timeout=timeout, what=what)

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
        self._black_holes.fill()
        self.api.delete("namespaces", self.namespace)
        self.api.wait_for(
            "namespaces",
            lambda found: not found or found[0]["status"]["phase"] == "Terminating",
            name=self.namespace,
            what="the namespace to be closing",
        )
        self.api.delete_all("pods", self.namespace, grace_seconds=0)
        self.api.wait_for("pods", lambda pods: not pods, self.namespace, timeout=60, what="no pods")
        self.api.delete_all("nodes", labels=self.selector, grace_seconds=0)
        self.api.wait_for("nodes", lambda nodes: not nodes, labels=self.selector, what="no nodes")

    @property
    def selector(self) -> str:
        """The label selector of the site's nodes."""
        return f"{SITE_LABEL}={self.namespace}"
