"""Which nodes carry the operator's taint: the union of what all pools want.

The rule is in `decide.quarantine`: `union_of` and `may_be_freed`. A new leader never frees a node that it has not
judged itself. Nodes that no pool has any more are freed, unless a pool can't be read: it may have them.

Level-triggered: whenever a pool says what it wants, that is compared with what was seen of the nodes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from computepool.act.fence import WriteAccess
from computepool.act.tainter import Tainter
from computepool.act.tasks import BackgroundTasks, wait_at_most
from computepool.app.view import View
from computepool.decide.quarantine import may_be_freed, union_of
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.observe.store import Store
from computepool.report.logs import log

REFRESH_SECONDS: Final = 60.0
"""How often it looks without being told to: a node that leaves all pools is in no pool's pass."""
SHOWN_WITHIN_SECONDS: Final = 15.0
"""How long the watch is waited for to show what was written, before it is held against the node again."""
_logger = logging.getLogger("computepool")


class QuarantineKeeper:
    """Keeps the taints what all pools together want."""

    def __init__(
        self,
        access: WriteAccess,
        store: Store,
        view: View,
        *,
        on_change: Callable[[], None],
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        """While the view is stale, all taints are left as they are. `on_change`: `trouble` has begun or ended."""
        self._store = store
        self._view = view
        self._on_change = on_change
        self._clock = access.runtime.steady
        self._refresh_seconds = refresh_seconds
        self._tainter = Tainter(access, self)
        # What each pool wants: None while it wants all left as it is. One that is not there was not judged yet.
        self._wants: dict[str, Mapping[str, Reason] | None] = {}
        self._union: Mapping[str, Reason] | None = None
        # By node: the version that a write made and the watch has not shown yet, and since when.
        self._awaited: dict[str, tuple[int, float]] = {}
        # Nodes whose taint is being written.
        self._busy: set[str] = set()
        self._failure: BaseException | None = None
        self._tasks = BackgroundTasks()
        self._done: Counter[str] = Counter()
        self._troubled = False
        self._wake = asyncio.Event()

    def want(self, pool: str, nodes: Mapping[str, Reason] | None) -> None:
        """Say which nodes are to carry the taint as far as this pool goes; None: leave its nodes as they are.

        To be called on each pass, whether or not anything has changed: it is cheap, and has the nodes looked at.
        """
        if pool not in self._wants or self._wants[pool] != nodes:
            self._wants[pool] = None if nodes is None else dict(nodes)
            self._union = None
        self._wake.set()

    def forget(self, pool: str) -> None:
        """Want nothing more for a pool that is gone."""
        self._wants.pop(pool, None)
        self._union = None
        self._wake.set()

    def trouble(self, pool: str) -> str:
        """Say what keeps the nodes of a pool from carrying, or losing, the taint; empty where nothing does."""
        failing = [name for name in self._tainter.failing if pool in self._store.pools_of_node(name)]
        if not failing:
            return ""
        return f"{len(failing)} node(s) can't be tainted or freed: {self._tainter.failing[failing[0]]}"

    # --- asked and told by the tainter

    def node(self, name: str) -> Node | None:
        """Return the node as it is seen now."""
        return self._store.node(name)

    def wanted(self, name: str) -> str | None:
        """Return the value of the taint that a node is to have: empty for none, None to leave it as it is."""
        return None if self._view.stale() else self._wanted(name)

    def written(self, node: Node, value: str, version: int) -> None:
        """Note that a taint is written; until the watch shows that version, the node is left alone."""
        self._done[value] += 1
        now = self._store.node(node.name)
        if now is not None and now.resource_version < version:
            self._awaited[node.name] = version, self._clock()

    def failed(self) -> None:
        """Look again: there is trouble to report."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the taints until cancelled. Raises NotLeadingError where leadership is over."""
        try:
            while True:
                self._wake.clear()
                self._look()
                self._tell()
                await wait_at_most(self._wake, self._refresh_seconds)
        finally:
            await self._tasks.cancel()

    def _look(self) -> None:
        """Start on each node that is not as wanted and not worked on already."""
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
        # A taint without a value, as may be made by hand, counts as a taint.
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
        # Also looked at again: the want may have changed after the last attempt had begun.
        self._wake.set()
        if error is None:
            self._busy.discard(name)
        else:
            self._failure = error

    def _tell(self) -> None:
        if self._failure is not None:
            raise self._failure
        for value, nodes in self._done.items():
            if value:
                log(_logger, logging.INFO, "nodes quarantined", reason=value, nodes=nodes)
            else:
                log(_logger, logging.INFO, "nodes freed", nodes=nodes)
        self._done.clear()
        if bool(self._tainter.failing) != self._troubled:
            self._troubled = not self._troubled
            self._on_change()
