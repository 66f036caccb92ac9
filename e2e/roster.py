"""The list of clusters: claims a name and ports, finds and ends clusters, and cleans up after dead clusters."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import msgspec

from e2e import components, ports, procs, state, supervisor
from e2e.components import Layout
from e2e.errors import ClusterError

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
# Seconds that a supervisor may take to end everything; it kills, so it takes a fraction of one.
END_SECONDS = 30.0


def claim(name: str, *, keep_logs: bool) -> Layout:
    """Make a new cluster's folder and record, with ports that no other cluster was promised.

    Raises ClusterError where the name is taken or none.
    """
    if not _NAME.fullmatch(name):
        raise ClusterError(f"a cluster cannot be called {name!r}: small letters, digits and inner dashes, at most 42")
    folder = state.root() / name
    with state.locked():
        sweep()
        records = state.records()
        if folder in records:
            raise ClusterError(f"a cluster {name!r} runs already; `python -m e2e down --name {name}` ends it")
        # What is there without a record is what an earlier one left: its logs, if they were to be kept.
        supervisor.remove_folder(folder, keep_logs=False)
        folder.mkdir(mode=0o700)
        chosen = ports.choose(components.PORTS, {port for record in records.values() for port in record.ports})
        record = state.ClusterRecord(name, chosen, owner=procs.ref(os.getpid()), keep_logs=keep_logs)
        state.write_record(folder, record)
    return Layout(folder, tuple(chosen))


def running() -> list[Layout]:
    """The clusters that run; what dead ones left behind is swept away."""
    sweep()
    return [Layout(folder, tuple(record.ports)) for folder, record in state.records().items()]


def folder_of(name: str) -> Path:
    """The folder of a cluster that runs. Raises ClusterError where none of that name does."""
    folder = state.root() / name
    record = state.records().get(folder)
    if record is None or not state.is_running(record):
        raise ClusterError(f"no cluster {name!r} runs; `python -m e2e list` shows those that do")
    return folder


def end(name: str, *, keep_logs: bool = False) -> None:
    """End a cluster that any process started, and wait until its processes are gone and its folder is removed."""
    folder = folder_of(name)
    record = state.read_record(folder)
    if keep_logs:
        state.write_record(folder, msgspec.structs.replace(record, keep_logs=True))
    if record.supervisor and procs.send(record.supervisor, signal.SIGTERM):
        procs.wait_gone([record.supervisor], END_SECONDS)
    sweep()


def sweep() -> None:
    """Clear away what clusters left behind whose supervisor was killed."""
    for folder, record in state.records().items():
        if not state.is_running(record):
            left = [process for process in record.components.values() if procs.send(process, signal.SIGKILL)]
            procs.wait_gone(left, END_SECONDS)
            supervisor.remove_folder(folder, keep_logs=record.keep_logs)
