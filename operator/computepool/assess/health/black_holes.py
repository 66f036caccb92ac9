"""Nodes that look ready while pods on them fail at once.

A failure counts against its node if all of these hold:
- No pod started to run, or became ready, on the node since the failure began: a node that starts pods is no black hole.
- The fault can't be the workload's own:
  - A kubelet's refusal of a pod that never ran counts by itself. But a workload that is refused on nodes of several
    providers, or on several nodes of one provider that refused no other workload, is at fault unless it runs elsewhere.
  - A refused pod that would not fit on the node if it were empty was bound by its user, past the scheduler.
  - Containers that do not start count only if a pod of the same workload is ready on another node on the same terms.
- Where the reason may lie in the pod, no other workload runs on the node: it would show that the node works. Such
  reasons are containers that do not start, and a virtual kubelet's refusal.

Two pods have the same terms if they have the same owner, requests, node selector and node affinity. For containers that
do not start, the labels must be the same too: they tell a head from its workers, and one member with arguments of its
own from another.

Only pods that request the pool's accelerator show that a node works: an agent runs also where no device does.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from computepool.model.accelerators import request_of
from computepool.model.api import BlackHoles
from computepool.model.cluster import Amounts, Node, NodeInfo, Shape
from computepool.model.labels import Labels, Term
from computepool.model.snapshot import Failure
from computepool.model.well_known_keys import BURST_LABEL

_Terms = tuple[str, Amounts, tuple[tuple[str, str], ...], tuple[Term, ...] | None, frozenset[tuple[str, str]] | None]
"""Owner, requests, node selector, node affinity, and labels; None for the labels of pods that differ in them alone."""


class BlackHoleVerdict(msgspec.Struct, frozen=True):
    """The black holes."""

    failed_pods: Mapping[str, int] = MappingProxyType({})
    """By node: how many pods failed at once there; only nodes with as many as the rules ask for."""
    recheck_at: float | None = None
    """When the oldest failure is too old to count."""


def black_holes(
    failures: Sequence[Failure],
    members: Mapping[str, Sequence[NodeInfo]],
    rules: BlackHoles,
    resource: str,
    now: float,
) -> BlackHoleVerdict:
    """Return the nodes of the pool on which too many pods failed.

    `members`: nodes by provider; `resource`: the name of the pool's accelerator.
    """
    recent = [failure for failure in failures if now < failure.at + rules.window_seconds] if rules.pods else []
    if not recent:
        return BlackHoleVerdict()
    provider_of = {info.node.name: name for name, infos in members.items() for info in infos}
    nodes = {info.node.name: info.node for infos in members.values() for info in infos}
    evidence = [failure for failure in recent if not _never_fits(failure, nodes.get(failure.node))]
    running = _RunningPods(evidence, members, resource)
    refusals = _Refusals(evidence, provider_of)
    failed_pods: dict[str, set[str]] = {}
    for failure in evidence:
        if (
            failure.node in nodes
            and not running.show_that_node_works(failure)
            and (running.on_same_terms_elsewhere(failure) or refusals.blame_the_node(failure))
        ):
            failed_pods.setdefault(failure.node, set()).add(failure.uid)
    return BlackHoleVerdict(
        {node: len(uids) for node, uids in failed_pods.items() if len(uids) >= rules.pods},
        min(failure.at for failure in recent) + rules.window_seconds,
    )


class _RunningPods:
    """The evidence of pods that run. A pod that has failed itself is no evidence for its node."""

    def __init__(self, failures: Sequence[Failure], members: Mapping[str, Sequence[NodeInfo]], resource: str) -> None:
        nodes = {failure.node for failure in failures}
        failed = {failure.uid for failure in failures}
        owners = {failure.owner for failure in failures if failure.owner}
        self._last_start: dict[str, float] = {}
        """By node: when a pod became ready there last, or was accepted that runs and is not ready yet."""
        self._workloads: dict[str, set[str]] = {}
        """By node: the workloads that run there."""
        self._nodes_of: dict[_Terms, set[str]] = {}
        """By terms: the nodes on which pods run on these terms."""
        for info in (info for infos in members.values() for info in infos):
            name = info.node.name
            for pod in info.pods:
                if not pod.runs:
                    continue
                if pod.ready and pod.owner in owners:
                    for labels in (pod.labels, None):
                        self._nodes_of.setdefault(_terms(pod.owner, pod.shape, labels), set()).add(name)
                if name in nodes and pod.uid not in failed and request_of(pod, resource):
                    began = (pod.ready_since if pod.ready else pod.started) or 0.0
                    self._last_start[name] = max(self._last_start.get(name, 0.0), began)
                    self._workloads.setdefault(name, set()).add(pod.owner or pod.uid)

    def show_that_node_works(self, failure: Failure) -> bool:
        """Say whether the node has started a pod since, or other workloads run there and may be told apart."""
        if self._last_start.get(failure.node, 0.0) >= (failure.began or failure.at):
            return True
        if failure.refused and not failure.unclear:
            return False
        return bool(self._workloads.get(failure.node, set()) - {_workload(failure)})

    def on_same_terms_elsewhere(self, failure: Failure) -> bool:
        """Say whether a pod of the same workload is ready on another node on the same terms."""
        if failure.shape is None or not failure.owner:
            return False
        labels = None if failure.refused and not failure.unclear else failure.labels
        return bool(self._nodes_of.get(_terms(failure.owner, failure.shape, labels), set()) - {failure.node})


class _Refusals:
    """Which node refused pods of which workload, and where workloads failed."""

    def __init__(self, failures: Iterable[Failure], provider_of: Mapping[str, str]) -> None:
        self._nodes: dict[str, set[str]] = {}
        self._workloads: dict[str, set[str]] = {}
        self._providers: dict[str, set[str]] = {}
        for failure in failures:
            workload = _workload(failure)
            self._providers.setdefault(workload, set()).add(provider_of.get(failure.node, ""))
            if failure.refused:
                self._nodes.setdefault(workload, set()).add(failure.node)
                self._workloads.setdefault(failure.node, set()).add(workload)

    def blame_the_node(self, failure: Failure) -> bool:
        """Say whether a refusal is the node's fault: no other node refused the workload, or it refused others too."""
        workload = _workload(failure)
        if not failure.refused or len(self._providers[workload]) > 1:
            return False
        return len(self._nodes[workload]) == 1 or len(self._workloads[failure.node]) > 1


def _never_fits(failure: Failure, node: Node | None) -> bool:
    """Say whether a node refused a pod that no scheduler would bind to it. Of an unknown pod or node, none can say."""
    shape = failure.shape
    if not failure.refused or shape is None or node is None:
        return False
    return not shape.admits(node.name, node.labels) or any(
        amount > max(node.capacity.get(name, 0), node.allocatable.get(name, 0)) for name, amount in shape.requests
    )


def _workload(failure: Failure) -> str:
    """Return the name of the pod's workload. A bare pod has no owner, and stands for itself."""
    return failure.owner or failure.uid


def _terms(owner: str, shape: Shape, labels: Labels | None) -> _Terms:
    """Return the terms of a pod. Its tolerations and the operator's label are left out: a burst changes them."""
    own = None if labels is None else frozenset((key, value) for key, value in labels.items() if key != BURST_LABEL)
    return owner, shape.requests, shape.node_selector, shape.affinity, own
