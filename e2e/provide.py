"""Makes sure that all binaries are in the user's cache: builds or downloads the missing binaries."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from e2e import binaries, build, download, toolchain, versions
from e2e.errors import BuildError, DownloadError

_TRUE = {"1", "true", "yes", "on"}
# What a build of everything needs at its peak (seen: under 6 GiB), with a margin.
NEEDED_BYTES = 7 << 30


def provide(env: Mapping[str, str] = os.environ, say: Callable[[str], None] | None = None) -> dict[str, Path]:
    """Every binary's path. What is not on this machine is built first, or downloaded where DOWNLOAD=1 is set.

    `say` is told what a person should know (default: standard error). Raises BuildError or DownloadError, unless all is
    there that a cluster needs: then it tells `say` what is missing, and returns the others.
    """
    say = say or _say
    if _missing(env):
        with locked(binaries.cache_root(env), say):
            # Another run may have made them while we waited for the lock.
            if missing := _missing(env):
                try:
                    _make(missing, env, say)
                except (BuildError, DownloadError) as error:
                    missing = _missing(env)
                    if set(missing) & set(versions.FOR_CLUSTER):
                        raise
                    say(f"{', '.join(missing)} can't be provided. The demo and the tests of signals need it. {error}")
    missing = _missing(env)
    return binaries.find_all(env, [name for name in versions.BINARIES if name not in missing])


def _missing(env: Mapping[str, str]) -> list[str]:
    return [name for name in versions.BINARIES if binaries.find(name, env) is None]


def _make(names: list[str], env: Mapping[str, str], say: Callable[[str], None]) -> None:
    cache = binaries.cache_root(env)
    say(f"{'Downloading' if wants_download(env) else 'Building'} into {cache}: {', '.join(names)}")
    for left in (cache / "bin").glob(".new-*"):
        shutil.rmtree(left)

    def keep(name: str, path: Path) -> None:
        install(path, name, env)

    if wants_download(env):
        download.download(names, binaries.target(), keep, download.Sources.from_env(env))
        return
    _require_space(cache)
    workshop = cache / "build"
    go = toolchain.find_or_install(workshop / "toolchain", env)
    build.Workshop(workshop, go, env).build(names, keep)
    shutil.rmtree(workshop)


def install(path: Path, name: str, env: Mapping[str, str] = os.environ) -> Path:
    """Move a binary to its place in the cache, where it appears whole or not at all.

    Raises BuildError where it is not of the version wanted.
    """
    path.chmod(0o755)
    said = binaries.version_of(path, name)
    if said != versions.BINARIES[name]:
        raise BuildError(f"{path} says that its version is {said}, not {versions.BINARIES[name]}")
    place = binaries.cached(name, env)
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own beside its place, since only within one file system is a rename all or nothing.
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent.parent))
    fresh.chmod(0o755)
    shutil.move(path, fresh / name)
    shutil.rmtree(place.parent, ignore_errors=True)
    fresh.rename(place.parent)
    return place


def wants_download(env: Mapping[str, str]) -> bool:
    """Whether DOWNLOAD=1 is set."""
    return env.get("DOWNLOAD", "").lower() in _TRUE


@contextmanager
def locked(cache: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one run at a time build into the cache; the others wait, and say so."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            say(f"Waiting for another run (process {lock.read().strip() or '?'}) that is building into {cache}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _require_space(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise BuildError(
            f"{cache} has {free >> 30} GiB free, and a build needs {NEEDED_BYTES >> 30} for a while; make room, point "
            "XDG_CACHE_HOME elsewhere, or use DOWNLOAD=1"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
