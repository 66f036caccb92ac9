"""`python -m tools.generate` writes what is not current, and --check tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.generate import GENERATED, ROOT, Generated, main, stale

FILES = (Generated("a/b.txt", lambda: "one\ntwo\n"), Generated("c.txt", lambda: "three\n"))


def test_the_committed_files_are_current() -> None:
    assert "".join(stale(ROOT, GENERATED)) == "", "run make generate"


def test_missing_files_are_written_with_their_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], tmp_path, FILES) == 0
    assert (tmp_path / "a/b.txt").read_text() == "one\ntwo\n"
    assert capsys.readouterr().out == "wrote a/b.txt\nwrote c.txt\n"


def test_current_files_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([], tmp_path, FILES)
    before = (tmp_path / "c.txt").stat().st_mtime_ns
    capsys.readouterr()
    assert main([], tmp_path, FILES) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "c.txt").stat().st_mtime_ns == before


def test_check_fails_with_a_diff_and_the_command_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([], tmp_path, FILES)
    (tmp_path / "a/b.txt").write_text("one\ntoo\n")
    capsys.readouterr()
    assert main(["--check"], tmp_path, FILES) == 1
    said = capsys.readouterr()
    assert "-too\n+two\n" in said.out
    assert said.err == "Generated files are not current: run make generate\n"
    assert (tmp_path / "a/b.txt").read_text() == "one\ntoo\n", "it only looks"


def test_check_is_quiet_when_all_is_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([], tmp_path, FILES)
    capsys.readouterr()
    assert main(["--check"], tmp_path, FILES) == 0
    assert capsys.readouterr() == ("", "")
