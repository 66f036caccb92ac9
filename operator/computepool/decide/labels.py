"""Which bound pods carry a label that does not say where they run."""

from collections.abc import Iterable

from computepool.assess.capacity.supply import Supply
from computepool.decide.plan import Mark


def label_fixes(pool: str, supplies: Iterable[Supply]) -> tuple[Mark, ...]:
    """Return the label that each such pod of the pool should have."""
    fixes = []
    for supply in supplies:
        where = "" if supply.target.primary else supply.target.name
        for use in supply.nodes:
            share = use.shares.get(pool)
            if share is not None and share.burst_labels != frozenset({where}):
                fixes += [Mark(pod, where) for pod in share.members if pod.burst != where and pod.deleting is None]
    return tuple(fixes)
