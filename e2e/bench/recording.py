"""Runs the recorder in its own process, so that it never waits for the interpreter of another part.

Its times can be compared with ours: all processes of a machine share the monotonic clock.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import msgspec

from e2e.bench.children import READY, Connection, ScriptProcess, answer, received
from e2e.errors import WaitTimeoutError
from e2e.kubeapi import FOREVER
from e2e.recorder import Life, Recorder


class Question(msgspec.Struct, frozen=True):
    """Asks for all pods with this label `app`, once `count` of them are bound or the time is over."""

    app: str
    count: int
    timeout: float


class RecorderProcess(ScriptProcess):
    """The process, seen from outside."""

    def __init__(self, connection: Connection) -> None:
        """Start it; from now on it records all pods of the namespace."""
        super().__init__(__name__, connection)

    def wait(self, app: str, count: int, timeout: float) -> dict[str, Life]:
        """Wait until so many pods of a batch are bound, or the time is over; return what was seen, by pod name."""
        lives = msgspec.json.decode(self.ask(Question(app, count, timeout)), type=list[Life])
        return {life.name: life for life in lives}


# -- in the child --------------------------------------------------------------------------------------------------


def bound(recorder: Recorder, question: Question) -> list[Life] | None:
    """Return the pods that are asked for, once enough of them are bound."""
    lives = recorder.lives(question.app)
    return lives if sum(life.bound is not None for life in lives) >= question.count else None


def answer_questions() -> None:
    """Answer until the process is ended."""
    connection = received(Connection)
    recorder = Recorder(connection.api(), connection.namespace, slice_seconds=FOREVER)
    # Only a recorder that has begun to watch can say what there is.
    recorder.lives()
    answer(READY)
    while True:
        question = received(Question)
        lives: list[Life] = []
        # What is missing is missing in the answer.
        with suppress(WaitTimeoutError):
            lives = recorder.wait(partial(bound, recorder, question), "bound pods", question.timeout)
        answer(lives or recorder.lives(question.app))


if __name__ == "__main__":
    answer_questions()
