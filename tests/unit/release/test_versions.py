"""One version in all files, and a changelog that a release can be made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from tools.release import changelog, versions
from tools.release.__main__ import ROOT
from tools.release.errors import ReleaseError

FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "charts/computepool/Chart.yaml")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that state the version, as they would be for the release 9.8.7."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    current = versions.version_of(ROOT)
    python = versions.python_version(current)
    edit(tmp_path, "pyproject.toml", f'\nversion = "{python}"\n', '\nversion = "9.8.7"\n')
    edit(tmp_path, "README.md", f"/computepool:{current}", "/computepool:9.8.7")
    edit(tmp_path, "charts/computepool/Chart.yaml", f"ersion: {current}\n", "ersion: 9.8.7\n")
    heading = changelog.sections(tmp_path)[0]
    edit(tmp_path, "CHANGELOG.md", f"## [{current}] - {heading.date}\n", "## [9.8.7] - 2030-12-31\n")
    return tmp_path


def edit(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text, name
    (root / name).write_text(text.replace(old, new))


def test_this_tree_states_one_version() -> None:
    assert versions.problems(ROOT) == []


def test_a_prepared_tree_can_be_released(tree: Path) -> None:
    assert versions.problems(tree, "v9.8.7") == []


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("pyproject.toml", '"9.8.7"', '"9.8.6"', "version in pyproject.toml is 9.8.6, and should be 9.8.7"),
        ("README.md", ":9.8.7", ":9.8.6", "the image's tag in README.md is 9.8.6, and should be 9.8.7"),
        ("CHANGELOG.md", "[9.8.7]", "[9.8.6]", "the first heading of CHANGELOG.md is 9.8.6, and should be 9.8.7"),
        (
            "charts/computepool/Chart.yaml",
            "appVersion: 9.8.7",
            "appVersion: 9.8.6",
            "appVersion in charts/computepool/Chart.yaml is 9.8.6, and should be 9.8.7",
        ),
    ],
)
def test_each_place_that_differs_is_named(tree: Path, name: str, old: str, new: str, said: str) -> None:
    edit(tree, name, old, new)
    assert versions.problems(tree, "v9.8.7") == [said]


@pytest.mark.parametrize("tag", ["9.8.7", "v9.8.8", "v9.8.7-rc.1", ""])
def test_a_tag_of_another_version_is_refused(tree: Path, tag: str) -> None:
    assert versions.problems(tree, tag) == [f"the tag is {tag}, and should be v9.8.7"]


def test_a_release_needs_its_day_and_a_tree_in_work_does_not(tree: Path) -> None:
    edit(tree, "CHANGELOG.md", "2030-12-31", "unreleased")
    assert versions.problems(tree) == []
    (said,) = versions.problems(tree, "v9.8.7")
    assert said.startswith("CHANGELOG.md calls 9.8.7 unreleased: write the day of the release")


NUMBERS = st.integers(0, 10**6)


@given(NUMBERS, NUMBERS, NUMBERS, st.none() | st.integers(1, 10**6))
def test_the_python_form_of_a_version_is_normal_and_keeps_its_meaning(
    major: int, minor: int, patch: int, candidate: int | None
) -> None:
    base = f"{major}.{minor}.{patch}"
    version = base if candidate is None else f"{base}-rc.{candidate}"
    python = versions.python_version(version)
    assert str(Version(python)) == python
    assert Version(python).release == (major, minor, patch)
    assert Version(python).is_prerelease == versions.is_prerelease(version) == (candidate is not None)


@pytest.mark.parametrize(
    "version", ["", "1.2", "v1.2.3", "1.2.3-beta.1", "1.2.3+build", "01.2.3", "1.2.3-rc.0", "1.2.3\n"]
)
def test_other_forms_of_versions_are_refused(version: str) -> None:
    with pytest.raises(ReleaseError, match="is no version"):
        versions.python_version(version)


CHANGELOG = """# Changelog

## [0.2.0] - 2030-02-01

### Fixed

- A first line
  and its second.
- Another change with a - dash.

### Security

- A hole.

## [0.1.0] - 2030-01-01

### Added

- All.
"""


def test_the_changelog_is_read_by_release_and_kind(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    assert [(found.version, found.date) for found in changelog.sections(tmp_path)] == [
        ("0.2.0", "2030-02-01"),
        ("0.1.0", "2030-01-01"),
    ]
    assert changelog.section(tmp_path, "0.2.0").changes() == [
        ("Fixed", "A first line and its second."),
        ("Fixed", "Another change with a - dash."),
        ("Security", "A hole."),
    ]
    assert changelog.section(tmp_path, "0.1.0").changes() == [("Added", "All.")]


def test_a_kind_of_change_that_artifact_hub_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.replace("### Fixed", "### Repaired"))
    with pytest.raises(ReleaseError, match=r'"### Repaired" in 0\.2\.0: use one of Added'):
        changelog.section(tmp_path, "0.2.0").changes()


def test_a_version_without_a_part_in_the_changelog_is_refused(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    with pytest.raises(ReleaseError, match=r'no "## \[0\.3\.0\]'):
        changelog.section(tmp_path, "0.3.0")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    with pytest.raises(ReleaseError, match="no heading of a release"):
        changelog.sections(tmp_path)


def test_every_change_of_this_changelog_is_read() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    read = sum(len(section.changes()) for section in changelog.sections(ROOT))
    assert read == sum(line.startswith("- ") for line in text.splitlines()) > 0
