"""Records what happens in the cluster, independently of the operator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from computepool.report.events import CONTROLLER
from e2e.demo.seen import EventSeen, Eviction, PoolSeen
from e2e.kubeapi import FOREVER, KubeApi, WatchEvent
from e2e.pools import POOLS
from e2e.recorder import Life, Recorder

Json = dict[str, Any]

EVENTS = "events.events.k8s.io"
LEASES, LEASE_NAMESPACE = "leases.coordination.k8s.io", "kube-node-lease"
BUDGETS = "poddisruptionbudgets.policy"


class DemoRecorder(Recorder):
    """Records also a pool, its operator's events, heartbeats, and what disruption budgets say of evictions."""

    def __init__(self, api: KubeApi, namespace: str, pool: str) -> None:
        """Begin to watch; the watches end with the process."""
        self.events: list[EventSeen] = []
        self.listener: Callable[[EventSeen], None] | None = None
        """Is told of each event as it comes."""
        self.pool: Json | None = None
        self.history: list[PoolSeen] = []
        """What the pool's status said; an entry for each change."""
        self.evictions: list[Eviction] = []
        self.heartbeats: dict[str, list[float]] = {}
        """By node: when its Lease was seen renewed."""
        self.wall_offset = time.time() - time.monotonic()
        """Wall clock minus monotonic clock, in seconds: the operator's log and events have times of the wall clock."""
        self._budgets: dict[str, Json] = {}
        super().__init__(api, namespace, slice_seconds=FOREVER)
        self.follow(BUDGETS, namespace, self._record_budget)
        self.follow(POOLS, None, self._record_pool, fields=f"metadata.name={pool}")
        self.follow(LEASES, LEASE_NAMESPACE, self._record_lease)
        self.follow(EVENTS, None, self._record_event)

    # -- in the watches' threads -----------------------------------------------------------------------------------

    def on_deleting(self, life: Life) -> None:
        """Record that a pod leaves, and how many pods of its workload are left that serve."""
        serving = sum(other.is_ready and other.here for other in self._apps[life.app])
        budget = self._budgets.get(life.app, {})
        wanted = int(budget.get("status", {}).get("desiredHealthy", 0))
        at = life.deleting or 0.0
        self.evictions.append(Eviction(life, at, by_api=life.evicted is not None, serving=serving, wanted=wanted))

    def _record_budget(self, event: WatchEvent) -> None:
        # The demo's budgets are named for the workloads that they protect.
        self._budgets[event.object["metadata"]["name"]] = {} if event.type == "DELETED" else event.object

    def _record_pool(self, event: WatchEvent) -> None:
        self.pool = None if event.type == "DELETED" else event.object
        if self.pool and "providers" in self.pool.get("status", {}):
            seen = PoolSeen.of(self.pool["status"], event.at)
            if not self.history or not self.history[-1].same_as(seen):
                self.history.append(seen)

    def _record_lease(self, event: WatchEvent) -> None:
        if event.type in ("ADDED", "MODIFIED"):
            self.heartbeats.setdefault(event.object["metadata"]["name"], []).append(event.at)

    def _record_event(self, event: WatchEvent) -> None:
        item = event.object
        if event.type == "ADDED" and item.get("reportingController") == CONTROLLER:
            about = item["regarding"]
            note, action = item.get("note", ""), item.get("action", "")
            seen = EventSeen(item["eventTime"], about["kind"], about["name"], item["reason"], note, action)
            self.events.append(seen)
            if self.listener:
                self.listener(seen)
