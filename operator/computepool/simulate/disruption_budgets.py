"""PodDisruptionBudgets of a simulated cluster: which evictions they refuse, as the API server decides it.

https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from collections import Counter
from collections.abc import Iterable

from computepool.model.cluster import Pod
from computepool.observe.disruption_budgets import DisruptionBudget
from computepool.simulate.cluster import Cluster, Event, PodChanged, PodGone


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
