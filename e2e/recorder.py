"""Records the lives of a namespace's pods by a watch of its own: when each was created, bound, evicted, deleted.

    with Recorder(site.api, site.namespace) as recorder:
        ...
        recorder.wait(lambda: len(recorder.evicted()) == 4, "four evictions")

Times are seconds on this machine's monotonic clock, taken as an event arrives: the API's own timestamps are whole
seconds. No event is missed as long as the API server remembers our place in the watch; after a gap, the recorder sees
that a pod is gone because a list lacks it. On a busy machine a watch may lag behind what another client has seen, so
every question first waits until the recorder has seen all that the API server knew when it was asked.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import urllib3

from e2e.closing import Closing
from e2e.errors import E2EError, WaitTimeoutError
from e2e.kubeapi import ApiError, KubeApi, WatchEvent
from e2e.objects import PROVIDER_KEY, PROVIDERS_ANNOTATION, is_bound, is_ready, is_unschedulable

Json = dict[str, Any]
T = TypeVar("T")

EVICTED = "EvictionByEvictionAPI"
"""The reason of the condition DisruptionTarget that the API server gives to a pod as it evicts it."""
SLICE_SECONDS = 1.0
MOMENTS = ("created", "unschedulable", "bound", "ready", "evicted", "deleting", "gone")


class Life(msgspec.Struct):
    """One pod's life. A time is when the pod was first seen so; None: it was never seen so."""

    uid: str
    name: str
    app: str
    """Its label `app`."""
    created: float
    born_tolerating: frozenset[str] = frozenset()
    """Standby providers whose taint it tolerated when it was created."""
    may_leave: bool = True
    """False: its annotation says that it never leaves the primary."""
    version: int = 0
    """Its latest resourceVersion."""
    unschedulable: float | None = None
    sent_on: dict[str, float] = {}
    """By further standby provider: when its taint was first tolerated."""
    node: str = ""
    bound: float | None = None
    ready: float | None = None
    is_ready: bool = False
    """Whether it is Ready at present."""
    restarts: int = 0
    evicted: float | None = None
    deleting: float | None = None
    """Since when it has a deletionTimestamp. A pod on a dead node stays like that, and runs no more."""
    gone: float | None = None
    finished: bool = False
    """Whether it has succeeded or failed."""
    ready_at_eviction: bool = False

    @property
    def here(self) -> bool:
        """Whether it exists, has not finished and is not being deleted."""
        return self.deleting is None and not self.finished

    def __str__(self) -> str:
        """Its name, its node, and how long ago what happened to it."""
        now = time.monotonic()
        times = ((moment, getattr(self, moment)) for moment in MOMENTS)
        return f"{self.name} on {self.node or 'no node'}: " + ", ".join(
            f"{moment} {now - at:.1f} s ago" for moment, at in times if at is not None
        )


class Recorder(Closing):
    """All pods of a namespace, or of all namespaces, including those that are gone."""

    def __init__(self, api: KubeApi, namespace: str | None, *, slice_seconds: float = SLICE_SECONDS) -> None:
        """Begin to watch. A watch is renewed every `slice_seconds`; `close` may take as long."""
        self._api = api
        self._namespace = namespace
        self._slice_seconds = slice_seconds
        self._lives: dict[str, Life] = {}
        self._apps: defaultdict[str, list[Life]] = defaultdict(list)
        self._waiting = False
        self._problem: Exception | None = None
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self.follow("pods", namespace, self._record_pod)

    def close(self) -> None:
        """End the watches, and wait until they have ended. What was recorded can still be read."""
        self._closed.set()
        for thread in self._threads:
            thread.join()

    def follow(
        self, kind: str, namespace: str | None, record: Callable[[WatchEvent], object], *, fields: str | None = None
    ) -> None:
        """Watch a further kind of objects; `record` gets each event in turn, and no other event at the same time."""
        arguments = (kind, namespace, record, fields)
        thread = threading.Thread(target=self._run, args=arguments, name=f"recorder of {kind}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # -- what was seen ---------------------------------------------------------------------------------------------

    def lives(self, app: str | None = None) -> list[Life]:
        """All pods that were seen, in the order they came; of one workload by its label `app`."""
        if not self._waiting and not self._closed.is_set():
            self._catch_up()
        with self._changed:
            return list(self._lives.values() if app is None else self._apps[app])

    def here(self, app: str | None = None) -> list[Life]:
        """The pods that exist, have not finished and are not being deleted."""
        return [life for life in self.lives(app) if life.here]

    def evicted(self, app: str | None = None) -> list[Life]:
        """The pods that were evicted, in the order of their evictions."""
        lives = [life for life in self.lives(app) if life.evicted is not None]
        return sorted(lives, key=lambda life: life.evicted or 0.0)

    def eviction_times(self, app: str | None = None) -> list[float]:
        """When pods were evicted, in order."""
        return [life.evicted for life in self.evicted(app) if life.evicted is not None]

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float = 60.0) -> T:
        """Wait until the condition returns something true, and return that; it is asked after every change, and every
        0.1 s. Raises WaitTimeoutError, or E2EError where a watch has failed.
        """
        deadline = time.monotonic() + timeout
        self._waiting = True
        try:
            while not (answer := condition()):
                if self._problem is not None:
                    raise E2EError(f"a watch ended: {self._problem!r}")
                if time.monotonic() > deadline:
                    raise WaitTimeoutError(f"waited {timeout:g} s for {what}; last seen:\n{self._shown()}")
                with self._changed:
                    self._changed.wait(0.1)
        finally:
            self._waiting = False
        return answer

    def _catch_up(self) -> None:
        """Wait until all is seen that the API server knows now."""
        pods, version = self.wait(self._listed, "an answer")
        there = {pod["metadata"]["uid"]: _version(pod) for pod in pods}

        def is_seen() -> bool:
            with self._changed:
                came = all(uid in self._lives and self._lives[uid].version >= seen for uid, seen in there.items())
                missing = (life for life in self._lives.values() if life.gone is None and life.uid not in there)
                return came and all(life.version > int(version) for life in missing)

        self.wait(is_seen, "the watch to catch up")

    def _listed(self) -> tuple[list[Json], str] | None:
        try:
            return self._api.list_at("pods", self._namespace)
        except (urllib3.exceptions.HTTPError, ApiError):
            # The server is being restarted.
            return None

    def _shown(self) -> str:
        return "\n".join(f"  {life}" for life in self.lives()[-30:]) or "  nothing"

    # -- in the watches' threads -----------------------------------------------------------------------------------

    def _run(
        self, kind: str, namespace: str | None, record: Callable[[WatchEvent], object], fields: str | None
    ) -> None:
        following = self._api.follow(
            kind, namespace, fields=fields, slice_seconds=self._slice_seconds, stop=self._closed
        )
        try:
            for changes in following:
                with self._changed:
                    for event in changes.events:
                        record(event)
                    self._changed.notify_all()
        except E2EError as problem:
            self._problem = problem

    def _record_pod(self, event: WatchEvent) -> None:
        pod = event.object
        life = self._lives.get(pod["metadata"]["uid"]) or self._begin(pod, event.at)
        life.version = _version(pod)
        life.node = pod["spec"].get("nodeName", "")
        was_ready, life.is_ready = life.is_ready, is_ready(pod)
        life.restarts = sum(status["restartCount"] for status in pod.get("status", {}).get("containerStatuses", []))
        for provider in _tolerated(pod) - life.born_tolerating:
            life.sent_on.setdefault(provider, event.at)
        was_here = life.here
        is_gone = event.type == "DELETED"
        life.finished = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if life.evicted is None and _is_evicted(pod):
            life.ready_at_eviction = was_ready
        so = {
            "unschedulable": is_unschedulable(pod),
            "bound": is_bound(pod),
            "ready": life.is_ready,
            "evicted": _is_evicted(pod),
            "deleting": is_gone or "deletionTimestamp" in pod["metadata"],
            "gone": is_gone,
        }
        for moment, is_so in so.items():
            if is_so and getattr(life, moment) is None:
                setattr(life, moment, event.at)
        if was_here and not life.here:
            self.on_deleting(life)

    def on_deleting(self, life: Life) -> None:
        """Called once for each pod, when it is first seen to be deleted."""

    def _begin(self, pod: Json, now: float) -> Life:
        meta = pod["metadata"]
        life = self._lives[meta["uid"]] = Life(
            uid=meta["uid"],
            name=meta["name"],
            app=meta.get("labels", {}).get("app", ""),
            created=now,
            born_tolerating=_tolerated(pod),
            may_leave=meta.get("annotations", {}).get(PROVIDERS_ANNOTATION) != "",
        )
        self._apps[life.app].append(life)
        return life


def _is_evicted(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "DisruptionTarget" and each.get("reason") == EVICTED for each in conditions)


def _tolerated(pod: Json) -> frozenset[str]:
    tolerations = pod["spec"].get("tolerations", [])
    return frozenset(toleration.get("value", "") for toleration in tolerations if toleration.get("key") == PROVIDER_KEY)


def _version(item: Json) -> int:
    return int(item["metadata"]["resourceVersion"])
