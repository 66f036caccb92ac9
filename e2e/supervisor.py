"""The process that owns a cluster's components, and ends them when its owner is gone.

`python -m e2e.supervisor FOLDER` reads requests from standard input and answers on standard output, one JSON object a
line each, in turn. Standard input is a tether too: when the owner ends in whatever way, SIGKILL included, the system
closes its end, and the supervisor ends every component and removes the cluster's folder. `keep` cuts the tether.

The supervisor itself may be killed as well. On Linux each component asks the kernel to be killed with its parent
(PR_SET_PDEATHSIG), and the folder is swept by the next command that looks at the clusters.

States: tethered -> (keep) kept -> (SIGTERM or `end`) ended. Invariant: components run only while their supervisor does.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from e2e import procs
from e2e.components import ComponentSpec
from e2e.state import read_record, write_record

# Seconds that a component which was asked to stop in order may take before it is killed.
STOP_SECONDS = 20.0
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Run a component; refused while one of that name runs."""

    component: ComponentSpec


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End a component with a signal and wait until it is gone."""

    name: str
    signum: int = signal.SIGKILL


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    """Send a signal: SIGSTOP and SIGCONT pause and resume. A process that is told to pause is paused once answered."""

    name: str
    signum: int


class Status(msgspec.Struct, frozen=True, tag="status"):
    """Ask what runs and what has ended by itself."""


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """Live on when the owner ends."""


class End(msgspec.Struct, frozen=True, tag="end"):
    """End everything and remove the folder. It is answered by the end of the supervisor."""


Request = Start | Stop | Signal | Status | Keep | End


class Answer(msgspec.Struct, frozen=True):
    """What became of a request: the ids of what runs, the exit codes of what ended unasked, or why it was refused."""

    running: dict[str, int] = {}
    ended: dict[str, int] = {}
    error: str = ""


class _OverError(Exception):
    """It is over: a signal said so, a request did, or the owner is gone."""


class Supervisor:
    """The components' parent. One thread, since PR_SET_PDEATHSIG is tied to the thread that started the child."""

    def __init__(self, folder: Path, requests: int, answers: int) -> None:
        """Own the cluster whose record is in the folder; requests and answers are file descriptors."""
        self._folder = folder
        self._requests = requests
        self._answers = answers
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, int] = {}
        self._tethered = True
        self._decoder = msgspec.json.Decoder(Request)

    def serve(self) -> None:
        """Answer requests until it is over; then end every component, in all cases, and remove the folder."""
        try:
            for line in self._lines(_wake_on_signals()):
                self._reply(self._answer(self._decoder.decode(line)))
        except _OverError:
            return
        finally:
            self._end_all()
            remove_folder(self._folder, keep_logs=read_record(self._folder).keep_logs)

    def _lines(self, woken: int) -> Iterator[bytes]:
        """Yield requests. Signals are seen only here, between two of them, so none interrupts a start halfway."""
        buffer, watched = b"", [woken, self._requests]
        while True:
            ready = select.select(watched, [], [])[0]
            if woken in ready:
                return
            chunk = os.read(self._requests, 1 << 16)
            if not chunk and self._tethered:
                return
            if not chunk:
                watched.remove(self._requests)
            *lines, buffer = (buffer + chunk).split(b"\n")
            yield from lines

    def _reply(self, answer: Answer) -> None:
        try:
            os.write(self._answers, msgspec.json.encode(answer) + b"\n")
        except BrokenPipeError as gone:
            if self._tethered:
                raise _OverError from gone

    def _answer(self, request: Request) -> Answer:
        self._reap()
        error = ""
        try:
            self._obey(request)
        except (OSError, ValueError) as problem:
            error = str(problem)
        return Answer({name: child.pid for name, child in self._children.items()}, dict(self._ended), error)

    def _obey(self, request: Request) -> None:
        match request:
            case Start(component):
                self._start(component)
            case Stop(name, signum):
                self._stop(self._child(name), signum)
                del self._children[name]
                self._save()
            case Signal(name, signum):
                child = self._child(name)
                child.send_signal(signum)
                # A signal takes effect a moment after it was sent. Not every system can wait for that.
                if signum == signal.SIGSTOP and hasattr(os, "waitid"):
                    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            case Keep():
                self._tethered = False
            case End():
                raise _OverError
            case Status():
                pass

    def _child(self, name: str) -> subprocess.Popen[bytes]:
        if name not in self._children:
            raise ValueError(f"{name} does not run")
        return self._children[name]

    def _start(self, component: ComponentSpec) -> None:
        if component.name in self._children:
            raise ValueError(f"{component.name} runs already")
        self._ended.pop(component.name, None)
        with Path(component.log).open("ab") as log:
            self._children[component.name] = subprocess.Popen(
                component.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=os.environ | component.env,
                preexec_fn=procs.die_with_parent(),
            )
        self._save()

    def _stop(self, child: subprocess.Popen[bytes], signum: int) -> None:
        child.send_signal(signum)
        # A paused process sees the signal only once it goes on.
        child.send_signal(signal.SIGCONT)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _reap(self) -> None:
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                self._ended[name] = code
                del self._children[name]

    def _end_all(self) -> None:
        # SIGKILL at once: the data is thrown away, and an orderly API server waits for its watchers first.
        for child in reversed(list(self._children.values())):
            child.kill()
        for child in self._children.values():
            child.wait()
        self._children.clear()

    def _save(self) -> None:
        components = {}
        for name, child in self._children.items():
            # One that has ended already is nobody's to clean up.
            with suppress(ProcessLookupError):
                components[name] = procs.ref(child.pid)
        write_record(self._folder, msgspec.structs.replace(read_record(self._folder), components=components))


def remove_folder(folder: Path, *, keep_logs: bool) -> None:
    """Remove a cluster's folder, or all of it but its logs."""
    if not keep_logs:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "logs":
            shutil.rmtree(entry, ignore_errors=True)
        elif not entry.is_dir():
            entry.unlink(missing_ok=True)


def _wake_on_signals() -> int:
    """Turn the signals that end us into a byte on a pipe, and return its reading end."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    for signum in ENDING_SIGNALS:
        signal.signal(signum, _ignore)
    return woken


def _ignore(_signum: int, _frame: FrameType | None) -> None:
    """Do nothing: the byte on the pipe says it all."""


if __name__ == "__main__":
    Supervisor(Path(sys.argv[1]), sys.stdin.fileno(), sys.stdout.fileno()).serve()
