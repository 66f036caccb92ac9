"""What a fake API server is told to do wrong next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]

Mischief = Literal["end", "drop", "cut", "mute", "garbage", "error", "repeat", "bookmark"]
"""What can happen to an open watch:

end       the server ends it in good order
drop      the connection is reset
cut       the connection is reset in the middle of the next line
mute      nothing is sent any more, and the connection stays open (the other end is gone without a word)
garbage   a line that is no JSON
error     an ERROR event with the given code; the watch then ends
repeat    the first line of this watch is sent again
bookmark  a bookmark of a version long past
"""


@dataclass(slots=True, kw_only=True)
class Fault:
    """Applies to the next `times` requests of this verb whose path contains `path` (of lists: to the page `page`).

    With `status` the request is refused so; with `body` that is the answer; with `reset` the connection is broken
    instead of an answer; each after `delay` seconds, and once `gate` is set where there is one. Without any of these it
    is answered properly then. `first` is given the server before that: others write at the same moment.
    For a watch, `then` happens after `after` lines; `code` and `retry_after` are those of its ERROR event.
    """

    verb: Verb
    path: str = ""
    times: int = 1
    page: int | None = None
    delay: float = 0.0
    gate: asyncio.Event | None = None
    first: Callable[[Any], object] | None = None
    status: int | None = None
    reason: str = ""
    message: str = ""
    retry_after: int | None = None
    body: bytes | None = None
    reset: bool = False
    then: Mischief | None = None
    after: int = 0
    code: int = 500


class Faults:
    """A queue of faults; each request takes the first one that applies to it."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, fault: Fault) -> None:
        self._queue.append(fault)

    def clear(self) -> None:
        self._queue.clear()

    def take(self, verb: Verb, path: str, page: int) -> Fault | None:
        for fault in self._queue:
            if fault.verb == verb and fault.path in path and fault.page in (None, page):
                fault.times -= 1
                if fault.times <= 0:
                    self._queue.remove(fault)
                return fault
        return None
