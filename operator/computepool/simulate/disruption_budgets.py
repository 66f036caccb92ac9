"""PodDisruptionBudgets of a simulated cluster: which evictions they refuse, as the API server decides it.

https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from collections import Counter
from collections.abc import Iterable

import msgspec

from computepool.model.cluster import Pod
from computepool.model.labels import Selector
from computepool.simulate.cluster import Cluster, Event, PodChanged, PodGone


class DisruptionBudget(msgspec.Struct, frozen=True):
    """One PodDisruptionBudget, as its status has it."""

    namespace: str
    name: str
    selector: Selector
    desired: int
    """How many of its pods must stay Ready (status.desiredHealthy)."""
    always_unready: bool = False
    """Whether pods that are not Ready may always be evicted (unhealthyPodEvictionPolicy AlwaysAllow)."""

    def covers(self, pod: Pod) -> bool:
        """Say whether it protects the pod."""
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"{self.namespace}/{self.name}"


class DisruptionBudgets:
    """All budgets of a cluster. A budget's allowance comes back as replacements become Ready."""

    def __init__(self, cluster: Cluster, budgets: Iterable[DisruptionBudget]) -> None:
        """They see every change of the cluster's pods at once, and decide about its evictions."""
        self.refused: Counter[str] = Counter()
        """By budget: how many evictions it has refused."""
        self._by_namespace: dict[str, list[DisruptionBudget]] = {}
        for budget in budgets:
            self._by_namespace.setdefault(budget.namespace, []).append(budget)
        # By budget: the uids of its pods that are Ready and do not end.
        self._ready: dict[DisruptionBudget, set[str]] = {}
        cluster.held_by_budget = self.refuses
        cluster.listeners.append(self._see)

    def refuses(self, pod: Pod) -> bool:
        """Say whether the eviction of a pod is refused, and count the refusal."""
        covering = self._covering(pod)
        # The API server refuses to evict a pod of several budgets.
        if len(covering) > 1:
            refusing: list[DisruptionBudget] = covering
        else:
            refusing = [budget for budget in covering if not self._allows(budget, pod)]
        self.refused.update(map(str, refusing))
        return bool(refusing)

    def _allows(self, budget: DisruptionBudget, pod: Pod) -> bool:
        ready = len(self._ready.get(budget, ()))
        if not pod.ready and (budget.always_unready or (budget.desired and ready >= budget.desired)):
            return True
        return ready > budget.desired

    def _covering(self, pod: Pod) -> list[DisruptionBudget]:
        return [budget for budget in self._by_namespace.get(pod.namespace, ()) if budget.covers(pod)]

    def _see(self, event: Event) -> None:
        match event:
            case PodChanged(pod):
                self._note(pod, ready=pod.ready and pod.deleting is None)
            case PodGone(pod):
                self._note(pod, ready=False)

    def _note(self, pod: Pod, *, ready: bool) -> None:
        for budget in self._covering(pod):
            known = self._ready.setdefault(budget, set())
            if ready:
                known.add(pod.uid)
            else:
                known.discard(pod.uid)
