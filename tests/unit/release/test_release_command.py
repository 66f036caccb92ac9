"""`python -m tools.release`: each command prints or writes, and a mistake is told in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.release.published import CHART, IMAGE, REPOSITORY, VERSION
from tools.release import plugin, sbom
from tools.release.__main__ import ROOT, main
from tools.release.errors import ReleaseError

PUSHED = ["--image", IMAGE.repository, "--digest", IMAGE.digest, "--repository", REPOSITORY]


def test_the_help_explains_each_command_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for command in ("check", "version", "plugin", "sbom", "chart", "notes", "krew"):
        assert re.search(rf"^ +{command} +\w", text, re.MULTILINE), command
    assert "python -m tools.release check --tag v1.2.0" in text


def test_a_tree_that_is_consistent_passes_and_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


def test_a_wrong_tag_fails_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--tag", "v0.0.0"]) == 1
    assert f"the tag is v0.0.0, and should be v{VERSION}\n" in capsys.readouterr().err


def test_the_notes_have_the_changes_of_the_version_and_the_way_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notes", *PUSHED, "--chart", CHART]) == 0
    text = capsys.readouterr().out
    assert text.startswith("### Added\n\n- ComputePool")
    assert text.count("\n- ") == (ROOT / "CHANGELOG.md").read_text().count("\n- ")
    assert f"helm install computepool {CHART} --version {VERSION} " in text


def test_the_chart_is_written_into_the_folder_that_is_named(tmp_path: Path) -> None:
    assert main(["chart", *PUSHED, "--out", str(tmp_path / "a/computepool")]) == 0
    assert IMAGE.digest in (tmp_path / "a/computepool/Chart.yaml").read_text()


def test_an_image_without_a_digest_fails_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["--image", IMAGE.repository, "--digest", "latest", "--repository", REPOSITORY]
    assert main(["chart", *wrong, "--out", str(tmp_path / "computepool")]) == 1
    assert capsys.readouterr().err == "'latest' is no digest: write sha256: and 64 hexadecimal digits\n"
    assert list(tmp_path.iterdir()) == []


def test_the_sbom_is_dated_by_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sbom"], env={"SOURCE_DATE_EPOCH": "1700000000"}) == 0
    assert capsys.readouterr().out == sbom.render(ROOT, 1_700_000_000)


def test_a_manifest_without_archives_fails_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["krew", "--archives", str(tmp_path), "--repository", REPOSITORY]) == 1
    assert "is missing: `make plugin` builds it" in capsys.readouterr().err


def test_a_step_of_the_plugin_that_fails_is_shown_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"(?s)pip wheel .* failed:\n.*pyproject\.toml"):
        plugin.build(tmp_path, tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "out").exists()


def test_the_lock_of_the_plugin_has_all_that_the_operator_needs_in_the_same_versions() -> None:
    pins = {
        name: set(re.findall(r"^([\w.-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in (plugin.LOCK, sbom.LOCK)
    }
    assert pins[sbom.LOCK] < pins[plugin.LOCK]
    assert any(pin.startswith("pyinstaller==") for pin in pins[plugin.LOCK])
    text = (ROOT / plugin.LOCK).read_text()
    assert "://" not in text
    requirements = re.split(r"\n(?=\S)", text)
    assert [requirement for requirement in requirements if "--hash=sha256:" not in requirement] == []
