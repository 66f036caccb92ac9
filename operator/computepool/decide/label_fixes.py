"""Corrects the label of bound pods: it names the standby on which the pod runs.

A pod gets the label only if it has the provider's tolerations. The chart's guard allows no more, so that a stolen token
can't label every pod. A pod on a standby whose nodes lack the taint was not sent there, and stays unlabelled.
"""

from collections.abc import Iterable

from computepool.assess.capacity.supply import Supply
from computepool.decide.plan import LabelFix


def label_fixes(pool: str, supplies: Iterable[Supply]) -> tuple[LabelFix, ...]:
    """Return the right label of each pod of the pool that has a wrong label."""
    fixes = []
    for supply in supplies:
        provider = supply.provider
        name = "" if provider.primary else provider.name
        right = frozenset({name})
        for info in supply.nodes:
            share = info.shares.get(pool)
            if share is None or share.burst_labels == right:
                continue
            for pod in share.members:
                burst = pod.burst
                if burst == name or pod.deleting is not None:
                    continue
                label = name if provider.tolerated_by(pod.shape) else ""
                if burst != label:
                    fixes.append(LabelFix(pod, label))
    return tuple(fixes)
