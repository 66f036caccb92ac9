"""The archive of the kubectl plugin for one platform. The same input makes the same bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from tools.release.errors import ReleaseError

# The command's name makes it `kubectl computepool`. krew wants the licence beside it.
COMMAND = "kubectl-computepool"
LICENSE = "LICENSE"

# As Python's `sys.platform` and `platform.machine()` name them, and as Go and krew do.
SYSTEMS = {"linux": "linux", "darwin": "darwin"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def platform_of(system: str, machine: str) -> tuple[str, str]:
    """The names of a system and a processor in an archive's name. Raises ReleaseError for an unknown platform."""
    try:
        return SYSTEMS[system], MACHINES[machine.lower()]
    except KeyError:
        raise ReleaseError(f"the plugin is not built for {system} on {machine}") from None


def name_of(version: str, system: str, machine: str) -> str:
    """The archive's file name. The arguments are Go's names."""
    return f"{COMMAND}_v{version}_{system}_{machine}.tar.gz"


def write(path: Path, command: Path, licence: Path, modified: int) -> None:
    """Write the archive. `modified` is the time of its files, in seconds since 1970."""
    members = ((COMMAND, command, 0o755), (LICENSE, licence, 0o644))
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=modified) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, source, mode in members:
            content = source.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), mode, modified
            tar.addfile(member, io.BytesIO(content))
