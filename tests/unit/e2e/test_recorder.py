"""The lives of pods are told as they are, however far the watch that records them lags behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from e2e.kubeapi import ApiError, KubeApi, Objects, WatchEvent
from e2e.objects import gpu_pod, provider_toleration
from e2e.recorder import EVICTED, Recorder

Json = dict[str, Any]


def pod(name: str, version: int = 0, status: Json | None = None, **spec: Any) -> Json:
    made = gpu_pod(name, labels={"app": "work"}, **spec)
    made["metadata"] |= {"uid": name, "resourceVersion": str(version)}
    return made | {"status": status or {}}


def evicted(name: str) -> Json:
    return pod(name, status={"conditions": [{"type": "DisruptionTarget", "reason": EVICTED, "status": "True"}]})


class LateApi(KubeApi):
    """An API server whose watch says nothing until it is asked for a list once more."""

    def __init__(self, *before: Json) -> None:
        super().__init__("https://example.invalid", "", Path("none"))
        self.held = {item["metadata"]["uid"]: item for item in before}
        self.version = 10
        self.lists = 0
        self._events: list[WatchEvent] = []
        self._asked = threading.Event()
        self._forgotten = False

    def change(self, kind: str, item: Json) -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        if kind == "DELETED":
            del self.held[item["metadata"]["uid"]]
        else:
            self.held[item["metadata"]["uid"]] = item
        self._asked.clear()
        self._events.append(WatchEvent(kind, item, float(self.version)))

    def list_at(self, *_of: Any, **_more: Any) -> tuple[Objects, str]:
        self.lists += 1
        self._asked.set()
        return list(self.held.values()), str(self.version)

    def fail(self) -> None:
        """Forget where every watch was."""
        self._forgotten = True
        self._asked.set()

    def watch(self, *_of: Any, timeout: float = 30, **_more: Any) -> Iterator[WatchEvent]:
        self._asked.wait(timeout)
        # Later than the answer to the list.
        threading.Event().wait(0.05)
        if self._forgotten:
            self._forgotten = False
            raise ApiError(410, "Expired", "too old resource version")
        events, self._events = self._events, []
        yield from events


def test_all_is_told_that_the_server_knew_when_it_was_asked() -> None:
    api = LateApi(pod("there", 1), pod("leaves", 2))
    with Recorder(api, "default") as recorder:
        assert [one.name for one in recorder.lives("work")] == ["there", "leaves"]
        api.change("MODIFIED", evicted("leaves"))
        api.change("ADDED", pod("new"))
        assert [one.name for one in recorder.evicted("work")] == ["leaves"]
        assert [one.name for one in recorder.lives("work")] == ["there", "leaves", "new"]
        api.change("DELETED", evicted("leaves"))
        assert [one.name for one in recorder.here("work")] == ["there", "new"]


def test_while_it_waits_it_asks_the_watch_alone_and_after_the_end_nobody() -> None:
    api = LateApi(pod("there", 1))
    with Recorder(api, "default") as recorder:
        assert len(recorder.lives()) == 1
        asked = api.lists
        answers = iter([None, None, "yes"])
        assert recorder.wait(lambda: recorder.lives() and next(answers), "the third answer") == "yes"
        assert api.lists == asked
    assert len(recorder.lives()) == 1
    assert api.lists == asked


def test_a_life_has_the_time_of_each_moment_that_was_seen_first() -> None:
    api = LateApi()
    tolerant = [provider_toleration("crusoe")]
    with Recorder(api, "default") as recorder:
        assert recorder.lives() == []
        api.change("ADDED", pod("a", tolerations=tolerant))
        api.change("MODIFIED", pod("a", tolerations=[*tolerant, provider_toleration("nebius")]))
        bound: Json = {"tolerations": [*tolerant, provider_toleration("nebius")], "nodeName": "n1"}
        api.change("MODIFIED", pod("a", status={"conditions": [{"type": "Ready", "status": "True"}]}, **bound))
        assert recorder.here("work")
        api.change("DELETED", pod("a", **bound))
        (life,) = recorder.lives()
    assert (life.created, life.bound, life.ready, life.deleting, life.gone) == (11.0, 13.0, 13.0, 14.0, 14.0)
    assert (life.born_tolerating, life.sent_on, life.node) == (frozenset({"crusoe"}), {"nebius": 12.0}, "n1")
    assert (life.is_ready, life.here, life.evicted, life.version) == (False, False, None, 14)


def test_what_a_gap_in_the_watch_has_swallowed_is_seen_by_the_next_list() -> None:
    api = LateApi(pod("stays", 1), pod("goes", 2), pod("changes", 3))
    changes = api.follow("pods")
    assert [event.type for event in next(changes).events] == ["ADDED"] * 3
    del api.held["goes"]
    api.held |= {"changes": pod("changes", 11), "comes": pod("comes", 12)}
    api.fail()
    seen = next(changes).events
    assert [(event.type, event.object["metadata"]["name"]) for event in seen] == [
        ("DELETED", "goes"),
        ("MODIFIED", "changes"),
        ("ADDED", "comes"),
    ]
