"""Sees for itself what happens in the cluster and when, so that the report need not believe the operator.

Three watches, one thread each, as any client of the API server may open. Times are this machine's, taken when an event
arrives: the API's own timestamps have whole seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import urllib3

from computepool.report.events import CONTROLLER
from e2e.errors import E2EError, WaitTimeoutError
from e2e.kubeapi import KubeApi, WatchEvent
from e2e.objects import PROVIDER_KEY, PROVIDERS_ANNOTATION

Json = dict[str, Any]
T = TypeVar("T")

POOLS = "computepools.computepool.io"
EVENTS = "events.events.k8s.io"
# Longer than any demo: each watch ends with the witness.
WATCH_SECONDS = 24 * 3600.0


@dataclass
class PodSeen:
    """One pod's life. Times are seconds on the monotonic clock."""

    name: str
    app: str
    added: float
    born_tolerating: frozenset[str]
    """Standby providers whose taint it tolerated as it was created."""
    may_leave: bool
    """Whether it has not said that it never leaves the primary."""
    sent_on: dict[str, float] = field(default_factory=dict)
    """When it was first seen to tolerate a further standby provider."""
    bound: float | None = None
    node: str = ""
    restarts: int = 0
    deleted: bool = False


@dataclass(frozen=True)
class EventSeen:
    """One event of the operator's: when it says it happened (RFC 3339), about what, why, and in words."""

    time: str
    kind: str
    name: str
    reason: str
    message: str


class Witness:
    """What was seen so far. Everything may be read at any time by the thread that waits."""

    def __init__(self, api: KubeApi, namespace: str, pool: str) -> None:
        """Begin to watch the namespace's pods, the pool, and the operator's events."""
        self.pods: dict[str, PodSeen] = {}
        self.events: list[EventSeen] = []
        self.pool: Json | None = None
        self._changed = threading.Condition()
        self._problem: Exception | None = None
        self._closing = False
        for watched, note in (
            (lambda: api.watch("pods", namespace, timeout=WATCH_SECONDS), self._pod),
            (lambda: api.watch(POOLS, fields=f"metadata.name={pool}", timeout=WATCH_SECONDS), self._pool),
            (lambda: api.watch(EVENTS, timeout=WATCH_SECONDS), self._event),
        ):
            threading.Thread(target=self._follow, args=(watched, note), daemon=True).start()

    def close(self) -> None:
        """Take the end of the watches, which the end of the cluster brings, for what it is."""
        self._closing = True

    def of(self, app: str) -> list[PodSeen]:
        """The pods of one workload, in the order they came."""
        with self._changed:
            return [pod for pod in self.pods.values() if pod.app == app]

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float) -> T:
        """Wait until something is true of what was seen; it is asked after every change. Raises WaitTimeoutError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not (answer := condition()):
                if self._problem is not None:
                    raise E2EError(f"a watch ended: {self._problem!r}")
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise WaitTimeoutError(f"waited {timeout:g} s for {what}")
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
        tolerated = _tolerated(spec)
        pod = self.pods.get(meta["uid"])
        if pod is None:
            annotations = meta.get("annotations", {})
            may_leave = annotations.get(PROVIDERS_ANNOTATION) != ""
            app = meta.get("labels", {}).get("app", "")
            pod = self.pods[meta["uid"]] = PodSeen(meta["name"], app, now, tolerated, may_leave)
        for provider in tolerated - pod.born_tolerating:
            pod.sent_on.setdefault(provider, now)
        if pod.bound is None and spec.get("nodeName"):
            pod.bound, pod.node = now, spec["nodeName"]
        statuses = event.object.get("status", {}).get("containerStatuses", [])
        pod.restarts = sum(one["restartCount"] for one in statuses)
        pod.deleted = event.type == "DELETED"

    def _pool(self, event: WatchEvent, _now: float) -> None:
        self.pool = None if event.type == "DELETED" else event.object

    def _event(self, event: WatchEvent, _now: float) -> None:
        told = event.object
        if event.type == "ADDED" and told.get("reportingController") == CONTROLLER:
            about = told["regarding"]
            self.events.append(
                EventSeen(told["eventTime"], about["kind"], about["name"], told["reason"], told.get("note", ""))
            )


def _tolerated(spec: Json) -> frozenset[str]:
    return frozenset(one["value"] for one in spec.get("tolerations", []) if one.get("key") == PROVIDER_KEY)
