"""The wheel and the source distribution, built and installed for real: what a user of a release gets."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.archives import unpack
from tests.unit.release.published import VERSION
from tools.release import versions
from tools.release.__main__ import ROOT

PYTHON_VERSION = versions.python_version(VERSION)
INFO = f"computepool-{PYTHON_VERSION}.dist-info"
# PYTHONPATH would let the tests' own package in.
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"SOURCE_DATE_EPOCH": "1700000000"}


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    ran = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _build(source: Path, out: Path) -> Path:
    _run(sys.executable, "-m", "hatchling", "build", "-d", out, cwd=source)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this tree."""
    out = tmp_path_factory.mktemp("dist")
    _build(ROOT, out)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"computepool-{PYTHON_VERSION}-py3-none-any.whl"
    package = ROOT / "operator/computepool"
    sources = {f"computepool/{path.relative_to(package)}" for path in package.rglob("*") if path.is_file()}
    sources = {name for name in sources if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert names == sources | metadata


def test_the_metadata_name_the_version_the_licence_and_the_commands(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{INFO}/METADATA").decode())
        commands = archive.read(f"{INFO}/entry_points.txt").decode()
        assert archive.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["Name"] == "computepool"
    assert metadata["Version"] == PYTHON_VERSION
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "computepool = computepool.cli.main:main" in commands
    assert "kubectl-computepool = computepool.cli.main:main" in commands


def test_the_source_distribution_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    (source,) = dist.glob("*.tar.gz")
    unpack(source, tmp_path)
    again = _build(tmp_path / source.name.removesuffix(".tar.gz"), tmp_path / "dist")
    assert again.read_bytes() == wheel.read_bytes()


def test_the_installed_wheel_runs_its_commands_from_its_own_files(wheel: Path, tmp_path: Path) -> None:
    _run(sys.executable, "-m", "venv", "--without-pip", tmp_path)
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    _run(sys.executable, "-m", "pip", "--python", tmp_path / "bin/python", *install, wheel)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path)}))
    # What it depends on comes from the environment of the tests, and is searched last.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = _run(tmp_path / "bin/python", "-c", "import computepool.cli.main as it; print(it.__file__)")
    assert Path(where.strip()) == own / "computepool/cli/main.py"
    assert _run(tmp_path / "bin/computepool", "--version") == f"computepool {PYTHON_VERSION}\n"
    assert "Usage: computepool [OPTIONS] COMMAND" in _run(tmp_path / "bin/computepool", "--help")
    assert "Usage: kubectl computepool [OPTIONS] COMMAND" in _run(tmp_path / "bin/kubectl-computepool", "--help")
