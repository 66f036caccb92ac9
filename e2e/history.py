"""What became of a namespace's pods, seen by a watch of its own: who was bound where and when, who was evicted.

    with History(site.api, site.namespace) as history:
        ...
        history.wait(lambda: len(history.evicted()) == 4, "four evictions")

Times are seconds on this process' monotonic clock, taken as an event arrives. No event is missed as long as the API
server remembers where we were; after a gap what is gone is noticed by its absence. Whoever asks is told of everything
that the API server knew by then: on a busy machine a watch may lag behind what another client has seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import urllib3

from e2e.errors import WaitTimeoutError
from e2e.kubeapi import ApiError, KubeApi
from e2e.objects import is_ready

Json = dict[str, Any]
T = TypeVar("T")

EVICTED = "EvictionByEvictionAPI"
"""The reason of the condition DisruptionTarget that the API server gives to a pod as it evicts it."""
SLICE_SECONDS = 1.0
"""A watch lasts so long, and goes on from where it was: the end is noticed within that time."""


@dataclass
class Life:
    """One pod's life as it was seen."""

    uid: str
    name: str
    app: str
    owner: str
    """The uid of its controller; empty for a bare pod."""
    added: float
    version: int = 0
    """Of what was seen last."""
    node: str = ""
    bound: float | None = None
    ready: float | None = None
    """When it was first seen Ready."""
    evicted: float | None = None
    leaving: float | None = None
    """When it was first seen with a deletionTimestamp."""
    gone: float | None = None
    ways: list[str] = field(default_factory=list)
    """The providers it was sent on to, in order, as its label says."""

    @property
    def here(self) -> bool:
        """Whether it is there, and not about to leave."""
        return self.leaving is None and self.gone is None


class History:
    """All pods of a namespace, those that are gone too."""

    def __init__(self, api: KubeApi, namespace: str | None) -> None:
        """Begin to watch with `start`, or as a `with` block is entered."""
        self._api = api
        self._namespace = namespace
        self._lives: dict[str, Life] = {}
        self._waiting = False
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def __enter__(self) -> Self:
        """Watch until the end of the block."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watch."""
        self.close()

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def close(self) -> None:
        """End the watch, and wait until it has ended."""
        self._over.set()
        self._thread.join()

    # -- what was seen ---------------------------------------------------------------------------------------------

    def lives(self, app: str | None = None) -> list[Life]:
        """All pods that were seen, in the order they came; of one workload by its label `app`."""
        if not self._waiting and not self._over.is_set():
            self._catch_up()
        with self._changed:
            return [one for one in self._lives.values() if app in (None, one.app)]

    def here(self, app: str | None = None) -> list[Life]:
        """Those that are there and stay."""
        return [one for one in self.lives(app) if one.here]

    def evicted(self, app: str | None = None) -> list[Life]:
        """Those that were evicted, in that order."""
        return sorted((one for one in self.lives(app) if one.evicted is not None), key=lambda one: one.evicted or 0.0)

    def eviction_times(self, app: str | None = None) -> list[float]:
        """When pods were evicted, in order."""
        return [one.evicted for one in self.evicted(app) if one.evicted is not None]

    def wait(self, condition: Callable[[], T | None], what: str, timeout: float = 60.0) -> T:
        """Wait until something is true, asked after every change and now and then; raises WaitTimeoutError."""
        deadline = time.monotonic() + timeout
        self._waiting = True
        try:
            while not (answer := condition()):
                if time.monotonic() > deadline:
                    raise WaitTimeoutError(f"waited {timeout:g} s for {what}; last seen:\n{self._shown()}")
                with self._changed:
                    self._changed.wait(0.1)
        finally:
            self._waiting = False
        return answer

    def _catch_up(self) -> None:
        """Wait until all is seen that the API server knows now."""
        listed = self.wait(self._listed, "an answer")
        there = {item["metadata"]["uid"]: _version(item) for item in listed["items"]}
        version = _version(listed)

        def is_seen() -> bool:
            with self._changed:
                came = all(uid in self._lives and self._lives[uid].version >= seen for uid, seen in there.items())
                missing = (one for one in self._lives.values() if one.gone is None and one.uid not in there)
                return came and all(one.version > version for one in missing)

        self.wait(is_seen, "the watch to catch up")

    def _listed(self) -> Json | None:
        try:
            return self._pods()
        except (urllib3.exceptions.HTTPError, ApiError):
            # A server that is being restarted.
            return None

    def _pods(self) -> Json:
        return self._api.request("GET", self._api.resource("pods").path(self._namespace))

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        version = ""
        while not self._over.is_set():
            try:
                version = version or self._list()
                version = self._follow(version)
            except (urllib3.exceptions.HTTPError, ApiError):
                # A server that is being restarted, or forgot our place: begin anew, as any client must.
                version = ""
                self._over.wait(0.05)

    def _list(self) -> str:
        answer = self._pods()
        now = time.monotonic()
        with self._changed:
            for item in answer["items"]:
                self._note(item, now)
            there = {item["metadata"]["uid"] for item in answer["items"]}
            for life in self._lives.values():
                if life.uid not in there and life.gone is None:
                    life.gone = now
            self._changed.notify_all()
        return str(answer["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        events = self._api.watch("pods", self._namespace, resource_version=version, timeout=SLICE_SECONDS)
        for event in events:
            now = time.monotonic()
            version = event.object["metadata"]["resourceVersion"]
            with self._changed:
                life = self._note(event.object, now)
                if event.type == "DELETED":
                    life.gone = now
                self._changed.notify_all()
        return version

    def _note(self, pod: Json, now: float) -> Life:
        meta, conditions = pod["metadata"], pod.get("status", {}).get("conditions", [])
        life = self._lives.get(meta["uid"])
        if life is None:
            owner = next((one["uid"] for one in meta.get("ownerReferences", []) if one.get("controller")), "")
            app = meta.get("labels", {}).get("app", "")
            life = self._lives[meta["uid"]] = Life(meta["uid"], meta["name"], app, owner, now)
        life.version = _version(pod)
        if node := pod["spec"].get("nodeName"):
            life.node, life.bound = node, life.bound or now
        if is_ready(pod):
            life.ready = life.ready or now
        if any(one["type"] == "DisruptionTarget" and one.get("reason") == EVICTED for one in conditions):
            life.evicted = life.evicted or now
        if "deletionTimestamp" in meta:
            life.leaving = life.leaving or now
        way = meta.get("labels", {}).get("computepool.io/burst", "")
        if way and life.ways[-1:] != [way]:
            life.ways.append(way)
        return life

    def _shown(self) -> str:
        def when(what: str, at: float | None) -> str:
            return f" {what} {now - at:.1f} s ago" if at is not None else ""

        now = time.monotonic()
        lines = [
            f"  {one.name} on {one.node or 'no node'}:{when('added', one.added)}{when('bound', one.bound)}"
            f"{when('evicted', one.evicted)}{when('leaving', one.leaving)}{when('gone', one.gone)}"
            for one in self.lives()[-30:]
        ]
        return "\n".join(lines) or "  nothing"


def _version(item: Json) -> int:
    return int(item["metadata"]["resourceVersion"])
