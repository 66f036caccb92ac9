"""Reads CHANGELOG.md: each release, and its changes by kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tools.release.errors import ReleaseError

# The kinds of Keep a Changelog. Artifact Hub has the same six, in lower case.
KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")

_RELEASE = re.compile(r"^## \[([^\]]+)\] - (\S+)\n", re.MULTILINE)
_KIND = re.compile(r"^### (.+)\n", re.MULTILINE)
_CHANGE = re.compile(r"^- ", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """The part of the changelog about one release."""

    version: str
    # The day of the release, or "unreleased".
    date: str
    # Markdown, without the heading.
    text: str

    @property
    def is_dated(self) -> bool:
        """Whether the heading has a day."""
        return re.fullmatch(r"\d{4}-\d{2}-\d{2}", self.date) is not None

    def changes(self) -> list[tuple[str, str]]:
        """Each change as its kind and its text, which is one line. Raises ReleaseError for an unknown kind."""
        _, *parts = _KIND.split(self.text)
        found = []
        for kind, body in zip(parts[::2], parts[1::2], strict=True):
            if kind not in KINDS:
                raise ReleaseError(f'CHANGELOG.md has "### {kind}" in {self.version}: use one of {", ".join(KINDS)}')
            found += [(kind, " ".join(change.split())) for change in _CHANGE.split(body) if change.strip()]
        return found


def sections(root: Path) -> list[Section]:
    """All releases, in the order of the file: the latest first. Raises ReleaseError if there is none."""
    _, *parts = _RELEASE.split((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    found = [Section(*part) for part in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]
    if not found:
        raise ReleaseError('CHANGELOG.md has no heading of a release, such as "## [1.2.0] - 2030-12-31"')
    return found


def section(root: Path, version: str) -> Section:
    """The part about a version. Raises ReleaseError if the changelog lacks it."""
    for found in sections(root):
        if found.version == version:
            return found
    raise ReleaseError(f'CHANGELOG.md has no "## [{version}] - <day>": say there what {version} changes')
