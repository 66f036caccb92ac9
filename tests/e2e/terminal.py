"""A command in a terminal of its own, as a person uses it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

_IN_A_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"


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
        self.said = ""

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

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Read until the command has printed this."""
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, self.said
            assert self._read(), f"ended before {text!r}: {self.said}"

    def end(self, seconds: float = 60.0) -> int:
        """Wait until the command has ended; return its exit code."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, self.said
        return self._process.wait(max(0.1, end - time.monotonic()))

    def _read(self) -> bool:
        """Read what there is within a second; return whether the command may print more."""
        ready, _, _ = select.select([self._master], [], [], 1.0)
        if not ready:
            return True
        try:
            part = os.read(self._master, 4096)
        except OSError:
            # Linux says so once nobody holds the other end.
            return False
        self.said += part.decode(errors="replace")
        return bool(part)
