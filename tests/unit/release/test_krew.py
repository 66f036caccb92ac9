"""The kubectl plugin: its archive, and the manifest by which krew installs it."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.archives import unpack
from tests.unit.release.published import REPOSITORY, VERSION
from tools.release import archive, krew
from tools.release.__main__ import ROOT
from tools.release.errors import ReleaseError


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A folder with an archive for each platform, each with a program of its own."""
    for system, machine in krew.PLATFORMS:
        command = tmp_path / "command"
        command.write_text(f"#!/bin/sh\necho {system} {machine} $1\n")
        archive.write(tmp_path / archive.name_of(VERSION, system, machine), command, ROOT / "LICENSE", 1_700_000_000)
        command.unlink()
    return tmp_path


def _manifest(archives: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(krew.render(ROOT, VERSION, archives, REPOSITORY))
    return manifest


def test_the_manifest_has_the_form_that_krew_reads(archives: Path) -> None:
    """Source: krew's internal/index/validation/validate.go and pkg/index/types.go."""
    manifest = _manifest(archives)
    assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
    assert manifest["kind"] == "Plugin"
    assert manifest["metadata"] == {"name": "computepool"}
    spec = manifest["spec"]
    assert spec.keys() == {"version", "homepage", "shortDescription", "description", "caveats", "platforms"}
    assert re.fullmatch(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", spec["version"])
    assert "\n" not in spec["shortDescription"]
    assert not spec["shortDescription"].endswith(".")
    assert len(spec["shortDescription"]) <= 50
    for platform in spec["platforms"]:
        assert platform.keys() == {"selector", "uri", "sha256", "bin"}
        assert platform["selector"].keys() == {"matchLabels"}
        assert platform["selector"]["matchLabels"].keys() == {"os", "arch"}
        assert re.fullmatch(r"[0-9a-f]{64}", platform["sha256"])
        assert re.fullmatch(r"https://\S+\.tar\.gz", platform["uri"])


def test_each_platform_gets_its_own_archive_with_its_checksum(archives: Path) -> None:
    named = {}
    for platform in _manifest(archives)["spec"]["platforms"]:
        labels = platform["selector"]["matchLabels"]
        named[labels["os"], labels["arch"]] = platform
        address, _, name = platform["uri"].rpartition("/")
        assert address == f"{REPOSITORY}/releases/download/v{VERSION}"
        assert name == archive.name_of(VERSION, labels["os"], labels["arch"])
        assert platform["sha256"] == hashlib.sha256((archives / name).read_bytes()).hexdigest()
        with tarfile.open(archives / name) as tar:
            assert tar.getmember(platform["bin"]).mode & 0o111 == 0o111
    assert named.keys() == set(krew.PLATFORMS)


def test_no_placeholder_and_no_comment_of_the_template_is_left(archives: Path) -> None:
    text = krew.render(ROOT, VERSION, archives, REPOSITORY)
    assert "$" not in text
    assert "#" not in text


def test_a_missing_archive_is_named(archives: Path) -> None:
    name = archive.name_of(VERSION, "darwin", "arm64")
    (archives / name).unlink()
    with pytest.raises(ReleaseError, match=f"{re.escape(name)} is missing: `make plugin` builds it on darwin"):
        krew.render(ROOT, VERSION, archives, REPOSITORY)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("${sha256_linux_arm64}", "${sha256_plan9_arm64}", "has a placeholder that has no value"),
        ("${version}", "${", "has a placeholder that has no value"),
        ("os: darwin, arch: amd64", "os: windows, arch: amd64", "name different platforms"),
    ],
)
def test_a_template_that_does_not_fit_is_refused(archives: Path, old: str, new: str, said: str) -> None:
    root = archives / "root"
    (root / "krew").mkdir(parents=True)
    text = (ROOT / krew.TEMPLATE).read_text()
    assert old in text
    (root / krew.TEMPLATE).write_text(text.replace(old, new, 1))
    with pytest.raises(ReleaseError, match=said):
        krew.render(root, VERSION, archives, REPOSITORY)


def test_the_archive_has_the_command_and_the_licence_and_can_be_run_as_a_plugin(archives: Path, tmp_path: Path) -> None:
    path = archives / archive.name_of(VERSION, "linux", "amd64")
    with tarfile.open(path) as tar:
        # krew reads only ordinary files and folders.
        assert {member.name for member in tar if member.isreg()} == set(tar.getnames()) == {archive.COMMAND, "LICENSE"}
    unpack(path, tmp_path / "store")
    assert (tmp_path / "store/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    # krew links the command into a folder on PATH.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / archive.COMMAND).symlink_to(tmp_path / "store" / archive.COMMAND)
    found = shutil.which("kubectl-computepool", path=str(tmp_path / "bin"))
    assert found is not None
    ran = subprocess.run([found, "status"], capture_output=True, text=True, check=True, env=os.environ)
    assert ran.stdout == "linux amd64 status\n"


def test_the_same_files_make_the_same_archive_whoever_packs_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"program")
    (tmp_path / "b").write_bytes(b"program")
    os.utime(tmp_path / "a", (0, 0))
    (tmp_path / "b").chmod(0o600)
    for name in ("a", "b"):
        archive.write(tmp_path / f"{name}.tar.gz", tmp_path / name, ROOT / "LICENSE", 1_700_000_000)
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname) for m in tar} == {(1_700_000_000, 0, 0, "")}
    with gzip.open(tmp_path / "a.tar.gz") as packed:
        packed.read()
        assert packed.mtime == 1_700_000_000


@pytest.mark.parametrize(
    ("system", "machine", "names"),
    [
        ("linux", "x86_64", ("linux", "amd64")),
        ("linux", "aarch64", ("linux", "arm64")),
        ("darwin", "arm64", ("darwin", "arm64")),
        ("darwin", "x86_64", ("darwin", "amd64")),
    ],
)
def test_platforms_have_the_names_that_krew_knows(system: str, machine: str, names: tuple[str, str]) -> None:
    assert archive.platform_of(system, machine) == names
    assert names in krew.PLATFORMS


@pytest.mark.parametrize(("system", "machine"), [("win32", "AMD64"), ("linux", "riscv64")])
def test_a_platform_without_a_plugin_is_named(system: str, machine: str) -> None:
    with pytest.raises(ReleaseError, match=f"not built for {system} on {machine}"):
        archive.platform_of(system, machine)
