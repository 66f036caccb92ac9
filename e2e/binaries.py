"""Finds the control plane's binaries on this machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e import versions
from e2e.errors import BinaryMissingError

# How to ask a binary for its version, where it is not simply --version.
_VERSION_ARGUMENTS = {"kubectl": ["version", "--client"], "helm": ["version", "--short"]}
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:-[\w.]+)?)")

NEXT_STEP = "run `make control-plane` (it downloads them once, or builds them in 10 to 17 minutes)"


@dataclass(frozen=True)
class Found:
    """A binary, and where the search found it: "explicit", "KUBEBUILDER_ASSETS", "PATH" or "cache"."""

    name: str
    path: Path
    where: str


def find_all(env: Mapping[str, str] = os.environ, names: Iterable[str] = versions.FOR_CLUSTER) -> dict[str, Path]:
    """The paths of all that a cluster needs, or of other binaries. Raises BinaryMissingError that names the missing."""
    found = {name: find(name, env) for name in names}
    missing = [name for name, one in found.items() if one is None]
    if missing:
        raise BinaryMissingError(f"not on this machine: {', '.join(missing)}; {NEXT_STEP}")
    return {name: one.path for name, one in found.items() if one is not None}


def find(name: str, env: Mapping[str, str] = os.environ) -> Found | None:
    """Look for a binary: $COMPUTEPOOL_E2E_BIN, $KUBEBUILDER_ASSETS, PATH, the cache.

    What the two variables name is taken as it is: whoever sets them means it. On PATH only the right version counts,
    since a kubectl of some other version is on many machines. Of Prometheus any version counts that our flags and
    queries work with.
    """
    places: list[tuple[str, Callable[[], Path | None]]] = [
        ("explicit", lambda: _in_folder(env.get("COMPUTEPOOL_E2E_BIN"), name)),
        ("KUBEBUILDER_ASSETS", lambda: _in_folder(env.get("KUBEBUILDER_ASSETS"), name)),
        ("PATH", lambda: _on_path(name, env.get("PATH"))),
        ("cache", lambda: _executable(cached(name, env))),
    ]
    for where, look in places:
        if path := look():
            return Found(name, path, where)
    return None


def cache_root(env: Mapping[str, str] = os.environ) -> Path:
    """The user's cache for this project: $XDG_CACHE_HOME/computepool, or ~/.cache/computepool."""
    home = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME") or Path.home()) / ".cache")
    return Path(home) / "computepool"


def cached(name: str, env: Mapping[str, str] = os.environ) -> Path:
    """Where the cache keeps a binary of the version wanted, whether it is there yet or not."""
    return cache_root(env) / "bin" / f"{name}-{versions.BINARIES[name]}-{target()}" / name


def target() -> str:
    """This machine as Go calls it: "linux-amd64", "darwin-arm64"."""
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def version_of(path: Path, name: str) -> str | None:
    """The version a binary says it is, without "v"; None where it does not run or says none."""
    try:
        said = subprocess.run(
            [path, *_VERSION_ARGUMENTS.get(name, ["--version"])],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Some builds of Prometheus 2 say it on standard error.
    match = _VERSION.search(said.stdout) or _VERSION.search(said.stderr)
    return match[1] if match else None


def _in_folder(folder: str | None, name: str) -> Path | None:
    return _executable(Path(folder) / name) if folder else None


def _on_path(name: str, path: str | None) -> Path | None:
    found = shutil.which(name, path=path)
    if found is None or not _serves(name, version_of(Path(found), name)):
        return None
    return Path(found)


def _serves(name: str, version: str | None) -> bool:
    """Whether a binary of this version may be used."""
    if version is not None and (oldest := versions.OLDEST.get(name)) is not None:
        return _numbers(version) >= _numbers(oldest)
    return version == versions.BINARIES[name]


def _numbers(version: str) -> list[int]:
    """The version's numbers; a pre-release counts as its release."""
    return [int(number) for number in version.partition("-")[0].split(".")]


def _executable(path: Path) -> Path | None:
    return path.resolve() if path.is_file() and os.access(path, os.X_OK) else None
