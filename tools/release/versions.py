"""One version in several files. This module reads each place, and says which places disagree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from tools.release import changelog
from tools.release.errors import ReleaseError

# A release, or a candidate of a release. Other forms of SemVer have no equal in Python's versions.
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-rc\.([1-9]\d*))?")
_README_IMAGE = re.compile(r"/computepool:(\S+)")


def is_prerelease(version: str) -> bool:
    """Whether the version is a candidate, such as 1.2.0-rc.1. Raises ReleaseError if it is no version."""
    return _parse(version)[4] is not None


def python_version(version: str) -> str:
    """The version as Python packages write it: 1.2.0-rc.1 is 1.2.0rc1. Raises ReleaseError if it is no version."""
    major, minor, patch, candidate = _parse(version).group(1, 2, 3, 4)
    return f"{major}.{minor}.{patch}" + (f"rc{candidate}" if candidate else "")


def _parse(version: str) -> re.Match[str]:
    parsed = _SEMVER.fullmatch(version)
    if parsed is None:
        raise ReleaseError(f"{version} is no version: write 1.2.3, or 1.2.3-rc.1 for a candidate")
    return parsed


def version_of(root: Path) -> str:
    """The version of the source tree, as the chart states it."""
    return str(_chart(root)["version"])


def _chart(root: Path) -> dict[str, object]:
    chart: dict[str, object] = yaml.safe_load((root / "charts/computepool/Chart.yaml").read_text(encoding="utf-8"))
    return chart


def problems(root: Path, tag: str | None = None) -> list[str]:
    """Each place whose version differs from the chart's, as a sentence. With a tag, also what keeps it from release.

    Raises ReleaseError if the chart's own version has no valid form.
    """
    version = version_of(root)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = {
        "appVersion in charts/computepool/Chart.yaml": (str(_chart(root)["appVersion"]), version),
        "version in pyproject.toml": (project["version"], python_version(version)),
    }
    for found in _README_IMAGE.findall((root / "README.md").read_text(encoding="utf-8")):
        stated["the image's tag in README.md"] = (found, version)
    latest = changelog.sections(root)[0]
    stated["the first heading of CHANGELOG.md"] = (latest.version, version)
    if tag is not None:
        stated["the tag"] = (tag, f"v{version}")
    wrong = [f"{place} is {have}, and should be {want}" for place, (have, want) in stated.items() if have != want]
    if tag is not None and not latest.is_dated:
        wrong.append(f"CHANGELOG.md calls {latest.version} {latest.date}: write the day of the release, as 2030-12-31")
    return wrong
