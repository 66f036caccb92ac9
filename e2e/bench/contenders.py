"""The contenders: the operator, and scripts that do the least possible. One contender runs at a time, as a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

from e2e import pools
from e2e.bench.children import Connection, ScriptProcess
from e2e.bench.stand import PRIMARY, STANDBY, Stand
from e2e.operator import OperatorProcess
from e2e.site import Site

Contender = Callable[[Stand], AbstractContextManager[list[int]]]
"""Runs while the block lasts, and gives the ids of its processes."""


@contextmanager
def operating(
    site: Site, providers: Sequence[str], flags: Sequence[str] = (), **spec: Any
) -> Iterator[OperatorProcess]:
    """An operator that leads and a pool of the site's name that is ready, with exactly the chart's rights.

    `flags`: further flags of the operator.
    """
    with pools.pool(site, providers, **spec), OperatorProcess(site.cluster, flags=flags) as operator:
        operator.wait_leading()
        pools.wait_condition(site, site.namespace, "Ready", "True")
        yield operator


@contextmanager
def ours(stand: Stand, **spec: Any) -> Iterator[list[int]]:
    """The operator with one pool, held by the chart's guard."""
    with operating(stand.site, [PRIMARY, STANDBY], **spec) as operator:
        yield [operator.pid]


@contextmanager
def bare(on: Literal["added", "unschedulable"], connection: Connection) -> Iterator[list[int]]:
    """A bare script."""
    with ScriptProcess("e2e.bench.bare", connection, [on, STANDBY]) as script:
        yield [script.pid]


def on_added(stand: Stand) -> AbstractContextManager[list[int]]:
    """The bare script that patches each pod as it appears; with the chart's rights, held by the chart's guard."""
    return bare("added", stand.guarded())


def on_added_unguarded(stand: Stand) -> AbstractContextManager[list[int]]:
    """The same script with an administrator's rights, which no guard looks at."""
    return bare("added", stand.connection)


def on_unschedulable(stand: Stand) -> AbstractContextManager[list[int]]:
    """The bare script that patches each pod once the scheduler has given up on it."""
    return bare("unschedulable", stand.guarded())
