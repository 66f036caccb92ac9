"""Keeps the operator's taint on the nodes that any pool wants to quarantine.

The rule is in `decide.quarantine`: `union_of` and `may_be_freed`. A new leader frees only nodes that it has judged
itself. A node that has left all pools is freed too, but not while a pool can't be read: the node may be in that pool.

This is level-triggered: after each pass the wanted taints are compared with those that the watch shows.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from computepool.act.tainter import Tainter
from computepool.act.tasks import BackgroundTasks, wait_at_most
from computepool.act.write_access import WriteAccess
from computepool.app.cluster_view import View
from computepool.decide.quarantine import may_be_freed, union_of
from computepool.kube.denial import with_advice
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.observe.store import Store
from computepool.report.formatting import listed
from computepool.report.logs import log
from computepool.report.problems import NAMED_NODES

REFRESH_SECONDS: Final = 60.0
"""Time between two comparisons without a pass: a node that has left all pools is in no pool's pass."""
SHOWN_WITHIN_SECONDS: Final = 15.0
"""Longest wait for the watch to show a written taint. After it the node's taint is compared again."""
_logger = logging.getLogger("computepool")


class QuarantineKeeper:
    """Keeps the taints as all pools together want them."""

    def __init__(
        self,
        access: WriteAccess,
        store: Store,
        view: View,
        *,
        on_change: Callable[[], None],
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """While the view is stale, all taints stay as they are. `on_change`: `trouble` has begun or ended."""
        self._store = store
        self._view = view
        self._on_change = on_change
        self._clock = access.runtime.steady
        self._refresh_seconds = refresh_seconds
        self._tainter = Tainter(access, self)
        # By pool: the wanted taints by node. None: leave them as they are. Without an entry: no pass has judged yet.
        self._wants: dict[str, Mapping[str, Reason] | None] = {}
        self._union: Mapping[str, Reason] | None = None
        # By node: the version that a write made and that the watch has not shown yet, and the time of the write.
        self._awaited: dict[str, tuple[int, float]] = {}
        # Nodes whose taint is being written.
        self._busy: set[str] = set()
        self._failure: BaseException | None = None
        self._tasks = BackgroundTasks()
        # By value of the taint, empty for none: names of nodes written since the last log line.
        self._written: defaultdict[str, list[str]] = defaultdict(list)
        self._troubled = False
        self._wake = asyncio.Event()

    def want(self, pool: str, nodes: Mapping[str, Reason] | None) -> None:
        """Set which nodes this pool wants to carry the taint, and why; None: leave its nodes as they are.

        Call this in each pass, also without a change: it starts the comparison of the nodes, which is cheap.
        """
        if pool not in self._wants or self._wants[pool] != nodes:
            self._wants[pool] = None if nodes is None else dict(nodes)
            self._union = None
        self._wake.set()

    def forget(self, pool: str) -> None:
        """Drop a pool that is gone."""
        self._wants.pop(pool, None)
        self._union = None
        self._wake.set()

    def trouble(self, pool: str) -> str:
        """Return why nodes of a pool could not get, or lose, the taint; empty if none failed."""
        failing = [name for name in self._tainter.failing if pool in self._store.pools_of_node(name)]
        if not failing:
            return ""
        return f"{len(failing)} node(s) can't be tainted or freed: {with_advice(self._tainter.failing[failing[0]])}"

    # --- The tainter calls these: `act.tainter.TaintWishes`.

    def node(self, name: str) -> Node | None:
        """Return the node as the store has it."""
        return self._store.node(name)

    def wanted(self, name: str) -> str | None:
        """Return the wanted value of a node's taint: empty for no taint, None to leave the node as it is."""
        return None if self._view.stale() else self._wanted(name)

    def written(self, node: Node, value: str, version: int) -> None:
        """Note that a taint is written. The node is left alone until the watch shows that version."""
        self._written[value].append(node.name)
        seen = self._store.node(node.name)
        if seen is not None and seen.resource_version < version:
            self._awaited[node.name] = version, self._clock()

    def failed(self) -> None:
        """Wake `run`, which reports the trouble."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the taints until cancelled. Raises NotLeadingError when leadership is over."""
        try:
            while True:
                self._wake.clear()
                self._start_writes()
                self._report()
                await wait_at_most(self._wake, self._refresh_seconds)
        finally:
            await self._tasks.cancel()

    def _start_writes(self) -> None:
        """Start a write for each node whose taint is not as wanted and not being written."""
        wanted, seen = self._wanted_by_all(), self._store.tainted()
        if wanted == seen or self._view.stale():
            return
        for name in wanted.keys() | seen.keys():
            if name not in self._busy and wanted.get(name) != seen.get(name) and self._is_due(name):
                self._busy.add(name)
                self._tasks.spawn(self._tainter.make(name), partial(self._ended, name))

    def _is_due(self, name: str) -> bool:
        node, value = self._store.node(name), self._wanted(name)
        if node is None:
            self._awaited.pop(name, None)
            return False
        # A taint without a value, perhaps made by hand, counts as a taint.
        return value is not None and (value or None) != node.quarantine and not self._is_awaited(node)

    def _is_awaited(self, node: Node) -> bool:
        version, since = self._awaited.get(node.name, (0, 0.0))
        if node.resource_version < version and self._clock() - since < SHOWN_WITHIN_SECONDS:
            return True
        self._awaited.pop(node.name, None)
        return False

    def _wanted(self, name: str) -> str | None:
        reason = self._wanted_by_all().get(name)
        if reason is not None:
            return str(reason)
        pools = self._store.pools_of_node(name)
        return "" if may_be_freed(self._wants, pools, unread=self._view.has_unread_pools()) else None

    def _wanted_by_all(self) -> Mapping[str, Reason]:
        if self._union is None:
            self._union = union_of(self._wants, sorted(self._wants, key=self._age))
        return self._union

    def _age(self, name: str) -> tuple[str, str]:
        pool = self._store.pools.get(name)
        return str((pool.metadata.creation_timestamp if pool else None) or ""), name

    def _ended(self, name: str, error: BaseException | None) -> None:
        # The wanted taint may have changed since the last attempt began.
        self._wake.set()
        if error is None:
            self._busy.discard(name)
        else:
            self._failure = error

    def _report(self) -> None:
        if self._failure is not None:
            raise self._failure
        for value, nodes in self._written.items():
            line, names = "nodes quarantined" if value else "nodes freed", listed(sorted(nodes), NAMED_NODES)
            log(_logger, logging.INFO, line, reason=value or None, nodes=len(nodes), names=names)
        self._written.clear()
        if bool(self._tainter.failing) != self._troubled:
            self._troubled = not self._troubled
            self._on_change()
