"""Which bound pods carry a label that does not say where they run."""

from collections.abc import Iterable

from computepool.assess.capacity.supply import Supply
from computepool.decide.plan import LabelFix


def label_fixes(pool: str, supplies: Iterable[Supply]) -> tuple[LabelFix, ...]:
    """Return the label that each such pod of the pool should have."""
    fixes = []
    for supply in supplies:
        where = "" if supply.provider.primary else supply.provider.name
        for info in supply.nodes:
            share = info.shares.get(pool)
            if share is not None and share.burst_labels != frozenset({where}):
                fixes += [LabelFix(pod, where) for pod in share.members if pod.burst != where and pod.deleting is None]
    return tuple(fixes)
