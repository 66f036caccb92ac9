"""Commands that are watched while they run: in a pipe, or in a terminal of their own, as a person uses them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

_IN_A_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"


class Printed:
    """What a process prints into a file descriptor, as far as it was read."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor`: the reading end; it stays the caller's."""
        self._descriptor = descriptor
        self.text = ""

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Read until the process has printed this."""
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, self.text
            assert self._read(), f"ended before {text!r}: {self.text}"

    def read_all(self, seconds: float = 60.0) -> None:
        """Read until nobody prints any more."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self.text

    def _read(self) -> bool:
        """Read what there is within a second; return whether more may be printed."""
        ready, _, _ = select.select([self._descriptor], [], [], 1.0)
        if not ready:
            return True
        try:
            part = os.read(self._descriptor, 65536)
        except OSError:
            # So a terminal says that nobody holds its other end.
            return False
        self.text += part.decode(errors="replace")
        return bool(part)


class Terminal:
    """Runs a command, types, and reads what it prints. Keys are sent as they are: "\\x03" is Ctrl-C."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        """`env`: laid over this process's environment."""
        self._master, slave = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_TERMINAL, *words],
            env={**os.environ, **env, "COLUMNS": "1000"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.printed = Printed(self._master)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the command, if it still runs."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def end(self, seconds: float = 60.0) -> int:
        """Wait until the command has ended; return its exit code."""
        self.printed.read_all(seconds)
        return self._process.wait(seconds)
