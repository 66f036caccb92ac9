"""Shows the progress of a long step: on a terminal in one line that changes, elsewhere in a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from typing import Self, TextIO

SPARSE_SECONDS = 30.0


class Progress:
    """A step that takes long. `with Progress("etcd 3.6.16") as progress: progress.say("compiling 12 of 500")`."""

    def __init__(self, what: str, out: TextIO | None = None, *, sparse_seconds: float = SPARSE_SECONDS) -> None:
        """Name the step. Where `out` (else standard error) is no terminal, a line comes every `sparse_seconds`."""
        self._what = what
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._every = 1.0 if self._live else sparse_seconds
        self._doing = "starting"
        self._began = time.monotonic()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def say(self, doing: str) -> None:
        """What is being done now; it is shown at the next tick."""
        self._doing = doing

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._began

    def __enter__(self) -> Self:
        """Begin to tick."""
        self._show()
        self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Say how it ended, and how long it took."""
        self._over.set()
        self._ticker.join()
        self._doing = "done" if kind is None else "not done"
        self._show(end="\n")

    def _tick(self) -> None:
        while not self._over.wait(self._every):
            self._show()

    def _show(self, end: str = "") -> None:
        line = f"{self._what}: {self._doing} ({_clock(self.elapsed)})"
        self._out.write(f"\r\x1b[K{line}{end}" if self._live else f"{line}\n")
        self._out.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
