"""What became of pods is told as it is, however far the watch that follows them lags behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from e2e.history import History
from e2e.kubeapi import WatchEvent

Json = dict[str, Any]


def pod(name: str, version: int, **status: Any) -> Json:
    return {
        "metadata": {"uid": name, "name": name, "resourceVersion": str(version), "labels": {"app": "work"}},
        "spec": {},
        "status": status,
    }


def evicted(name: str, version: int) -> Json:
    return pod(name, version, conditions=[{"type": "DisruptionTarget", "reason": "EvictionByEvictionAPI"}])


class LateApi:
    """An API server whose watch says nothing until it is asked for a list once more."""

    def __init__(self, *before: Json) -> None:
        self.held = {item["metadata"]["uid"]: item for item in before}
        self.version = 10
        self.lists = 0
        self._events: list[WatchEvent] = []
        self._asked = threading.Event()

    def change(self, kind: str, item: Json) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            del self.held[item["metadata"]["uid"]]
        else:
            self.held[item["metadata"]["uid"]] = item
        self._asked.clear()
        self._events.append(WatchEvent(kind, item))

    def resource(self, _kind: str) -> LateApi:
        return self

    def path(self, _namespace: str | None) -> str:
        return "pods"

    def request(self, _method: str, _path: str) -> Json:
        self.lists += 1
        self._asked.set()
        return {"metadata": {"resourceVersion": str(self.version)}, "items": list(self.held.values())}

    def watch(self, *_of: Any, timeout: float, **_more: Any) -> Iterator[WatchEvent]:
        self._asked.wait(timeout)
        # Later than the answer to the list.
        threading.Event().wait(0.05)
        events, self._events = self._events, []
        yield from events


def test_all_is_told_that_the_server_knew_when_it_was_asked() -> None:
    api = LateApi(pod("there", 1), pod("leaves", 2))
    with History(api, "default") as history:  # type: ignore[arg-type]
        assert [one.name for one in history.lives("work")] == ["there", "leaves"]
        api.change("MODIFIED", evicted("leaves", 0))
        api.change("ADDED", pod("new", 0))
        assert [one.name for one in history.evicted("work")] == ["leaves"]
        assert [one.name for one in history.lives("work")] == ["there", "leaves", "new"]
        api.change("DELETED", evicted("leaves", 0))
        assert [one.name for one in history.here("work")] == ["there", "new"]


def test_while_it_waits_it_asks_the_watch_alone_and_after_the_end_nobody() -> None:
    api = LateApi(pod("there", 1))
    with History(api, "default") as history:  # type: ignore[arg-type]
        assert len(history.lives()) == 1
        asked = api.lists
        answers = iter([None, None, "yes"])
        assert history.wait(lambda: history.lives() and next(answers), "the third answer") == "yes"
        assert api.lists == asked
    assert len(history.lives()) == 1
    assert api.lists == asked
