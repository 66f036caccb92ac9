"""Sees for itself what happens in the cluster and when, so that the report need not believe the operator.

Watches as any client of the API server may open, one thread each. Times are this machine's, taken when an event
arrives: the API's own timestamps have whole seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import urllib3

from computepool.report.events import CONTROLLER
from e2e.demo.seen import EventSeen, Eviction, PodSeen, PoolSeen
from e2e.errors import E2EError, WaitTimeoutError
from e2e.kubeapi import KubeApi, WatchEvent
from e2e.objects import PROVIDER_KEY, PROVIDERS_ANNOTATION, is_ready
from e2e.pools import POOLS

Json = dict[str, Any]
T = TypeVar("T")

EVENTS = "events.events.k8s.io"
LEASES, LEASE_NAMESPACE = "leases.coordination.k8s.io", "kube-node-lease"
BUDGETS = "poddisruptionbudgets.policy"
# The Eviction API leaves this on a pod that it let go.
EVICTED = "EvictionByEvictionAPI"
# Longer than any demo: each watch ends with the witness.
WATCH_SECONDS = 24 * 3600.0


class Witness:
    """What was seen so far. Everything may be read at any time by the thread that waits."""

    def __init__(self, api: KubeApi, namespace: str, pool: str) -> None:
        """Begin to watch the namespace's pods and disruption budgets, the pool, heartbeats, the operator's events."""
        self.pods: dict[str, PodSeen] = {}
        self.events: list[EventSeen] = []
        self.pool: Json | None = None
        self.history: list[PoolSeen] = []
        self.evictions: list[Eviction] = []
        self.heartbeats: dict[str, list[float]] = {}
        """By node: when its Lease was seen renewed."""
        self.wall_offset = time.time() - time.monotonic()
        """What makes a time of this clock one of the wall clock, which the operator's log and events have."""
        self._budgets: dict[str, Json] = {}
        self._changed = threading.Condition()
        self._problem: Exception | None = None
        self._closing = False
        for watched, note in (
            (lambda: api.watch("pods", namespace, timeout=WATCH_SECONDS), self._pod),
            (lambda: api.watch(BUDGETS, namespace, timeout=WATCH_SECONDS), self._budget),
            (lambda: api.watch(POOLS, fields=f"metadata.name={pool}", timeout=WATCH_SECONDS), self._pool),
            (lambda: api.watch(LEASES, LEASE_NAMESPACE, timeout=WATCH_SECONDS), self._lease),
            (lambda: api.watch(EVENTS, timeout=WATCH_SECONDS), self._event),
        ):
            threading.Thread(target=self._follow, args=(watched, note), daemon=True).start()

    def close(self) -> None:
        """Take the end of the watches, which the end of the cluster brings, for what it is."""
        self._closing = True

    def of(self, app: str) -> list[PodSeen]:
        """The pods of one workload that are there and not leaving, in the order they came."""
        with self._changed:
            return [pod for pod in self.pods.values() if pod.app == app and pod.leaving is None]

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float) -> T:
        """Wait until something is true of what was seen; it is asked after every change. Raises WaitTimeoutError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (answer := condition()):
                if self._problem is not None:
                    raise E2EError(f"a watch ended: {self._problem!r}")
                # Heartbeats alone change something every moment: the deadline counts, not that nothing came.
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitTimeoutError(f"waited {timeout:g} s for {what}")
                self._changed.wait(left)
            return answer

    # -- in the watches' threads -----------------------------------------------------------------------------------

    def _follow(self, watched: Callable[[], Iterable[WatchEvent]], note: Callable[[WatchEvent, float], None]) -> None:
        problem: Exception = E2EError("the API server ended it")
        try:
            for event in watched():
                now = time.monotonic()
                with self._changed:
                    note(event, now)
                    self._changed.notify_all()
        except (urllib3.exceptions.HTTPError, E2EError) as error:
            problem = error
        with self._changed:
            if not self._closing:
                self._problem = problem
                self._changed.notify_all()

    def _pod(self, event: WatchEvent, now: float) -> None:
        meta, spec = event.object["metadata"], event.object["spec"]
        pod = self.pods.get(meta["uid"])
        if pod is None:
            annotations = meta.get("annotations", {})
            may_leave = annotations.get(PROVIDERS_ANNOTATION) != ""
            app = meta.get("labels", {}).get("app", "")
            pod = self.pods[meta["uid"]] = PodSeen(meta["name"], app, now, _tolerated(spec), may_leave)
        for provider in _tolerated(spec) - pod.born_tolerating:
            pod.sent_on.setdefault(provider, now)
        if pod.bound is None and spec.get("nodeName"):
            pod.bound, pod.node = now, spec["nodeName"]
        status = event.object.get("status", {})
        pod.restarts = sum(one["restartCount"] for one in status.get("containerStatuses", []))
        pod.ready = is_ready(event.object)
        if event.type == "DELETED":
            pod.gone = now
        if pod.leaving is None and (pod.gone is not None or "deletionTimestamp" in meta):
            pod.leaving = now
            self._left(pod, status, now)

    def _left(self, pod: PodSeen, status: Json, now: float) -> None:
        """Note that a pod leaves, and how many of its workload are left that serve."""
        asked = any(one.get("reason") == EVICTED for one in status.get("conditions", []))
        serving = sum(1 for one in self.pods.values() if one.app == pod.app and one.ready and one.leaving is None)
        budget = self._budgets.get(pod.app, {})
        wanted = int(budget.get("status", {}).get("desiredHealthy", 0))
        self.evictions.append(Eviction(pod, now, by_api=asked, serving=serving, wanted=wanted))

    def _budget(self, event: WatchEvent, _now: float) -> None:
        # The demo's budgets are named for the workload that they hold a hand over.
        self._budgets[event.object["metadata"]["name"]] = {} if event.type == "DELETED" else event.object

    def _pool(self, event: WatchEvent, now: float) -> None:
        self.pool = None if event.type == "DELETED" else event.object
        if self.pool and "providers" in self.pool.get("status", {}):
            seen = PoolSeen.of(self.pool["status"], now)
            if not self.history or not self.history[-1].same_as(seen):
                self.history.append(seen)

    def _lease(self, event: WatchEvent, now: float) -> None:
        if event.type in ("ADDED", "MODIFIED"):
            self.heartbeats.setdefault(event.object["metadata"]["name"], []).append(now)

    def _event(self, event: WatchEvent, _now: float) -> None:
        told = event.object
        if event.type == "ADDED" and told.get("reportingController") == CONTROLLER:
            about = told["regarding"]
            note, action = told.get("note", ""), told.get("action", "")
            self.events.append(EventSeen(told["eventTime"], about["kind"], about["name"], told["reason"], note, action))


def _tolerated(spec: Json) -> frozenset[str]:
    return frozenset(one["value"] for one in spec.get("tolerations", []) if one.get("key") == PROVIDER_KEY)
