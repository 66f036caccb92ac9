"""Makes sure that all binaries are in the user's cache: downloads the missing binaries, or builds them."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path

from e2e import binaries, build, toolchain, versions
from e2e.download import download
from e2e.errors import BuildError, DownloadError
from e2e.releases import Sources
from e2e.web import HURRIED, PATIENT, Web, proxies_of

# What a build of everything needs at its peak (seen: under 6 GiB), with a margin.
NEEDED_BYTES = 7 << 30


class Policy(Enum):
    """What the variable DOWNLOAD says about a missing binary; the values are its spellings."""

    DOWNLOAD_OR_BUILD = ("",)
    DOWNLOAD = ("1", "true", "yes", "on")
    BUILD = ("0", "false", "no", "off")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Policy:
        """Read the variable. Raises DownloadError for a value that says neither yes nor no."""
        value = env.get("DOWNLOAD", "").strip().lower()
        for policy in cls:
            if value in policy.value:
                return policy
        raise DownloadError(
            f"DOWNLOAD is {value!r}; set it to 0 (never download) or 1 (never build), or leave it out (download what "
            "can be downloaded, build the rest)"
        )


def provide(env: Mapping[str, str] = os.environ, say: Callable[[str], None] | None = None) -> dict[str, Path]:
    """Every binary's path. A binary that is not on this machine is downloaded or built first, as DOWNLOAD says.

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
    policy = Policy.from_env(env)
    place = binaries.cache_root(env) / "bin"
    place.mkdir(exist_ok=True)
    for left in place.glob(".new-*"):
        shutil.rmtree(left)
    if policy is not Policy.BUILD:
        names = _download(names, env, policy, say)
    if names:
        _build(names, env, say)


def _download(names: list[str], env: Mapping[str, str], policy: Policy, say: Callable[[str], None]) -> list[str]:
    """Download the binaries of these names, and return the names that are left to build."""
    cache = binaries.cache_root(env)
    say(f"Downloading into {cache}: {', '.join(names)}")
    web = Web(PATIENT if policy is Policy.DOWNLOAD else HURRIED, proxies_of(env))
    refused = download(names, binaries.target(), cache / "bin", partial(install, env), web, Sources.from_env(env))
    for reason in dict.fromkeys(refused.values()):
        say(f"Can't download {', '.join(name for name in refused if refused[name] == reason)}: {reason}")
    if refused and policy is Policy.DOWNLOAD:
        raise DownloadError(f"{', '.join(refused)} can't be downloaded; without DOWNLOAD=1 a build takes its place")
    return list(refused)


def _build(names: list[str], env: Mapping[str, str], say: Callable[[str], None]) -> None:
    cache = binaries.cache_root(env)
    say(f"Building into {cache}: {', '.join(names)}. All binaries together take 10 to 17 minutes.")
    _require_space(cache)
    workshop = cache / "build"
    go = toolchain.find_or_install(workshop / "toolchain", env)
    build.Workshop(workshop, go, env).build(names, partial(install, env))
    shutil.rmtree(workshop)


def install(env: Mapping[str, str], name: str, path: Path) -> None:
    """Move a binary to its place in the cache, where it appears whole or not at all.

    Raises BuildError where it is not of the version wanted.
    """
    path.chmod(0o755)
    said = binaries.version_of(path, name)
    if said != versions.BINARIES[name]:
        raise BuildError(f"{path} says that its version is {said}, not {versions.BINARIES[name]}")
    place = binaries.cached(name, env)
    # Beside its place, since only within one file system is a rename all or nothing.
    with tempfile.TemporaryDirectory(prefix=".new-", dir=place.parent.parent) as folder:
        fresh = Path(folder) / place.parent.name
        fresh.mkdir()
        shutil.move(path, fresh / name)
        shutil.rmtree(place.parent, ignore_errors=True)
        fresh.rename(place.parent)


@contextmanager
def locked(cache: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one run at a time fill the cache; the others wait, and say so."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            say(f"Waiting for another run (process {lock.read().strip() or '?'}) that fills {cache}")
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
            f"{cache} has {free >> 30} GiB free, and a build needs {NEEDED_BYTES >> 30} for a while; make room, or "
            "point XDG_CACHE_HOME elsewhere"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
