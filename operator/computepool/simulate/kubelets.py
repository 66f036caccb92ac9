"""The kubelets of a simulated cluster: they renew their nodes' Leases until they stop."""

from collections.abc import Iterable
from typing import Final

from computepool.observe.heartbeats import Heartbeats, Lease
from computepool.simulate.cluster import Cluster

BEAT_SECONDS: Final = 10.0
"""Between two renewals, by default."""
LEASE_SECONDS: Final = 40
UNKNOWN_SECONDS: Final = 50.0
"""The node controller calls a node Unknown that was silent for so long (its nodeMonitorGracePeriod)."""


class Kubelets:
    """All kubelets of a cluster."""

    def __init__(self, cluster: Cluster, heartbeats: Heartbeats, now: float) -> None:
        """Let all nodes renew their Leases now, for the first time that the operator sees."""
        self._cluster = cluster
        self._heartbeats = heartbeats
        self._stopped: dict[str, float] = {}
        # By node: the time of its Lease.
        self._renewed: dict[str, str] = {}
        self._next = now
        self.run(now)

    def stop(self, nodes: Iterable[str], now: float) -> None:
        """Let these nodes answer no more."""
        self._stopped.update((name, self._stopped.get(name, now)) for name in nodes)

    def run(self, now: float) -> None:
        """Let the kubelets and the node controller do what is due."""
        self._heartbeats.tick(connected=True)
        if now >= self._next:
            self._next = now + BEAT_SECONDS
            for name in self._cluster.nodes:
                # A node that is Unknown already has stopped before.
                if name not in self._stopped and self._cluster.nodes[name].ready != "Unknown":
                    self._renewed[name] = str(now)
                    self._heartbeats.put(self._lease(name), now)
        nodes = self._cluster.nodes
        self._lose(
            name for name, at in self._stopped.items() if now >= at + UNKNOWN_SECONDS and nodes[name].ready != "Unknown"
        )

    def answer(self, nodes: Iterable[str], now: float) -> None:
        """Answer the operator, which reads the Leases of these nodes directly."""
        self._heartbeats.compare([self._lease(name) for name in nodes], now, now)

    def _lease(self, name: str) -> Lease:
        return Lease(name, 0, self._renewed.get(name, ""), LEASE_SECONDS)

    def _lose(self, names: Iterable[str]) -> None:
        """Do as the node controller does: a node's status is Unknown, and its pods are not Ready."""
        lost: dict[str, list[str]] = {name: [] for name in names}
        for pod in self._cluster.pods.values() if lost else ():
            if pod.node in lost:
                lost[pod.node].append(pod.uid)
        for name, uids in lost.items():
            self._cluster.update_node(name, ready="Unknown")
            for uid in uids:
                self._cluster.update_pod(uid, ready=False)
