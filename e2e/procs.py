"""Identifies processes by id and start time, because an id alone may belong to another process by now."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

PR_SET_PDEATHSIG = 1


class ProcessRef(msgspec.Struct, frozen=True):
    """A process, told apart from a later one with the same id by the moment it started."""

    pid: int
    started: str


def ref(pid: int) -> ProcessRef:
    """Name a process that runs now. Raises ProcessLookupError where there is none."""
    started = _started(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return ProcessRef(pid, started)


def is_alive(process: ProcessRef) -> bool:
    """Whether exactly this process still runs. One that has ended but was not yet reaped by its parent does not."""
    return _started(process.pid) == process.started


def send(process: ProcessRef, signum: signal.Signals) -> bool:
    """Send a signal, to exactly this process. False where it is gone."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, signum)
    except ProcessLookupError:
        return False
    return True


def wait_gone(processes: list[ProcessRef], timeout: float) -> list[ProcessRef]:
    """Wait, in seconds, until all of them are gone, and return those that are not.

    They are not our children, so there is nothing to wait on but their absence.
    """
    deadline = time.monotonic() + timeout
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [process for process in left if is_alive(process)]
    return left


def memory_mib(pid: int | str, field: str = "VmRSS") -> float:
    """Return the memory of a process on Linux, such as VmRSS or VmHWM; see proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before it becomes the component, on Linux: ask to be killed when the parent ends."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It ended before the request took effect.
            os._exit(1)

    return ask


def _started(pid: int) -> str | None:
    if sys.platform == "linux":
        return _started_linux(pid)
    listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = listed.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def _started_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 2 is the command in parentheses and may hold spaces; what follows it is regular. See proc_pid_stat(5).
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started
