"""Child processes that tests and benchmarks start and end: operators and scripts.

A process ends with its block, and with ours however that ends: on Linux PR_SET_PDEATHSIG sees to that. It is tied to
the thread that started the process, so start it in a thread that lives as long.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from e2e import procs
from e2e.closing import Closing
from e2e.errors import E2EError

# Seconds that an orderly end may take: an operator's writes under way, events still to send, the Lease given back.
END_SECONDS = 20.0


class ChildError(E2EError):
    """A process ended too early, or would not end."""


class ChildProcess(Closing):
    """A process that can be ended, killed and paused."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], **streams: Any) -> None:
        """Start it and return at once; `streams` as for Popen."""
        self._process = subprocess.Popen(
            argv,
            env=env,
            preexec_fn=procs.die_with_parent(),
            # Ctrl-C in a terminal goes to all processes of its session; the end must come from us, in order.
            start_new_session=True,
            **streams,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a paused process has not."""
        return self._process.poll() is None

    def terminate(self, timeout: float = END_SECONDS) -> int:
        """Ask it to end (SIGTERM), wait until it has, and return its exit code. Errors as for `wait_ended`."""
        self._signal(signal.SIGTERM)
        # A paused process sees the signal only once it goes on.
        self._signal(signal.SIGCONT)
        return self.wait_ended(timeout)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def wait_ended(self, timeout: float = END_SECONDS) -> int:
        """Wait until it has ended by itself, and return its exit code. Raises ChildError where it does not."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._error(f"has not ended in {timeout:g} s") from None

    def close(self) -> None:
        """End it in order, or else at once. Nothing happens where it has ended."""
        try:
            if self.running:
                self.terminate()
        except ChildError:
            self.kill()
            raise
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def _error(self, what: str) -> ChildError:
        """What is raised where the process did not do as it should."""
        return ChildError(f"process {self.pid} {what}")

    def _signal(self, signum: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, signum)
