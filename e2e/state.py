"""The records of clusters: each has a folder, and a file that names its processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from e2e.errors import ClusterError
from e2e.procs import ProcessRef, is_alive

RECORD = "cluster.json"


class ClusterRecord(msgspec.Struct, frozen=True):
    """A cluster as others see it: its ports, its supervisor and its components."""

    name: str
    ports: list[int]
    owner: ProcessRef
    supervisor: ProcessRef | None = None
    components: dict[str, ProcessRef] = {}
    keep_logs: bool = False


def root() -> Path:
    """The folder of all clusters' folders: $COMPUTEPOOL_E2E_STATE, or one per user in the system's temporary folder.

    It holds administrator tokens, so it must be this user's own and closed to others. Raises ClusterError otherwise.
    """
    named = os.environ.get("COMPUTEPOOL_E2E_STATE")
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"computepool-e2e-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not following a link: in a folder that all may write to, somebody else may have put one there.
    if folder.lstat().st_uid != os.getuid():
        raise ClusterError(f"{folder} belongs to another user; set COMPUTEPOOL_E2E_STATE to a folder of your own")
    folder.chmod(0o700)
    return folder.resolve()


@contextmanager
def locked() -> Iterator[None]:
    """Hold this user's clusters still, while a new one chooses its name and ports."""
    with (root() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_record(folder: Path) -> ClusterRecord:
    """Read a cluster's record. Raises FileNotFoundError where there is none."""
    return msgspec.json.decode((folder / RECORD).read_bytes(), type=ClusterRecord)


def write_record(folder: Path, record: ClusterRecord) -> None:
    """Replace a cluster's record at once, so that no reader sees half of it."""
    fresh = folder / f".{RECORD}"
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(folder / RECORD)


def records() -> dict[Path, ClusterRecord]:
    """The folders and records of all clusters, whether they live or not."""
    found = {}
    for path in sorted(root().glob(f"*/{RECORD}")):
        # One that is just ending takes its record away under our eyes.
        with suppress(FileNotFoundError):
            found[path.parent] = read_record(path.parent)
    return found


def is_running(record: ClusterRecord) -> bool:
    """Whether the cluster's supervisor lives, or the process that is about to start it."""
    return is_alive(record.supervisor or record.owner)
