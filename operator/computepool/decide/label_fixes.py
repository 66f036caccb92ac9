"""Corrects the label of bound pods: it names the standby on which the pod runs."""

from collections.abc import Iterable

from computepool.assess.capacity.supply import Supply
from computepool.decide.plan import LabelFix


def label_fixes(pool: str, supplies: Iterable[Supply]) -> tuple[LabelFix, ...]:
    """Return the right label of each pod of the pool that has a wrong label."""
    fixes = []
    for supply in supplies:
        label = "" if supply.provider.primary else supply.provider.name
        for info in supply.nodes:
            share = info.shares.get(pool)
            if share is not None and share.burst_labels != frozenset({label}):
                fixes += [LabelFix(pod, label) for pod in share.members if pod.burst != label and pod.deleting is None]

    return tuple(fixes)
