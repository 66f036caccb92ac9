"""Builds the kubectl plugin for the machine that this runs on: one file with Python and all packages inside.

krew installs a file per platform and knows nothing of Python. So the plugin must bring its own. PyInstaller packs it,
and it packs only for the system and the processor that it runs on.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tools.release import archive, versions
from tools.release.errors import ReleaseError

LOCK = "requirements-plugin.lock"
PROGRAM = "krew/plugin.py"


def build(root: Path, out: Path, work: Path, env: Mapping[str, str] = os.environ) -> Path:
    """Build into `out` and return the archive's path. `work` is a folder for all that is needed meanwhile.

    The file times are SOURCE_DATE_EPOCH if it is set, else now. Raises ReleaseError with the end of what a step said.
    """
    system, machine = archive.platform_of(sys.platform, platform.machine())
    modified = int(env.get("SOURCE_DATE_EPOCH") or time.time())
    environment = work / "venv"
    python = str(environment / "bin/python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # hatchling, which builds the package, is in the environment of the tools.
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    wheel += ["--no-build-isolation", "--wheel-dir", str(work / "wheel"), str(root)]
    for step in (
        wheel,
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [*install, "--require-hashes", "--only-binary", ":all:", "-r", str(root / LOCK)],
    ):
        _run(step, env)
    (package,) = (work / "wheel").glob(f"computepool-{versions.python_version(versions.version_of(root))}-*.whl")
    _run([*install, "--no-deps", "--no-index", "--force-reinstall", str(package)], env)
    _run([python, "-m", "PyInstaller", *_options(work), str(root / PROGRAM)], env)
    command = work / "dist" / archive.COMMAND
    _run([str(command), "--help"], env)
    out.mkdir(parents=True, exist_ok=True)
    path = out / archive.name_of(versions.version_of(root), system, machine)
    archive.write(path, command, root / archive.LICENSE, modified)
    return path


def _options(work: Path) -> list[str]:
    folders = {"--distpath": work / "dist", "--workpath": work / "build", "--specpath": work}
    options = ["--onefile", "--noconfirm", "--log-level", "WARN", "--name", archive.COMMAND]
    options += [word for option, folder in folders.items() for word in (option, str(folder))]
    # `--version` reads the metadata of the package. Schedules in time zones read tzdata.
    return [*options, "--copy-metadata", "computepool", "--collect-data", "tzdata"]


def _run(command: list[str], env: Mapping[str, str]) -> None:
    # What is on PYTHONPATH must not get into the plugin. The same seed makes the same bytecode.
    clean = {name: value for name, value in env.items() if name != "PYTHONPATH"} | {"PYTHONHASHSEED": "1"}
    ran = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = "\n".join((ran.stdout + ran.stderr).splitlines()[-30:])
        raise ReleaseError(f"{' '.join(command)} failed:\n{said}")
