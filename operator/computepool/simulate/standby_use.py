"""For how long the devices of standbys are held in a simulated cluster: what a standby costs follows from it."""

from computepool.model.accelerators import request_of
from computepool.model.cluster import Pod
from computepool.model.quantity import MILLI
from computepool.simulate.cluster import Cluster, Event, NodeChanged, PodChanged, PodGone


class StandbyUse:
    """Sums up what the pods hold that are bound outside the primary, from each change of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        """It sees every change at once."""
        self.seconds = 0.0
        """So far: seconds of all devices together."""
        self._cluster = cluster
        self._primary = cluster.providers[0].name
        self._resource = cluster.pool.spec.accelerator.resource_name
        # By the pod's uid, in thousandths.
        self._held: dict[str, int] = {}
        self._sum = 0
        self._place_of = {name: cluster.provider_of(name) for name in cluster.nodes}
        cluster.listeners.append(self._see)

    def wait(self, seconds: float) -> None:
        """Count a time in which nothing changes."""
        self.seconds += seconds * (self._sum // MILLI)

    def _see(self, event: Event) -> None:
        match event:
            case PodChanged(pod):
                self._note(pod.uid, self._holds(pod))
            case PodGone(pod):
                self._note(pod.uid, 0)
            case NodeChanged(node) if self._place_of.get(node.name) != self._cluster.provider_of(node.name):
                # It is new, or its labels make it a node of another provider.
                self._place_of[node.name] = self._cluster.provider_of(node.name)
                for pod in self._cluster.pods.values():
                    if pod.node == node.name:
                        self._note(pod.uid, self._holds(pod))

    def _holds(self, pod: Pod) -> int:
        on_standby = bool(pod.node) and self._cluster.provider_of(pod.node) != self._primary
        return request_of(pod, self._resource) if on_standby else 0

    def _note(self, uid: str, amount: int) -> None:
        self._sum += amount - self._held.pop(uid, 0)
        if amount:
            self._held[uid] = amount
