"""The fenced blocks of a Markdown file, each with the heading above it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
README = REPOSITORY / "README.md"
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
"""The pages for users by task. `docs/reference/` is generated."""
EXAMPLES = REPOSITORY / "docs/examples"
COMMANDS = REPOSITORY / "docs/commands.md"
METRICS = REPOSITORY / "docs/reference/metrics.md"
UNINSTALL = REPOSITORY / "docs/uninstall.md"
UPGRADE = REPOSITORY / "docs/upgrade.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and the last heading before it."""

    language: str
    text: str
    heading: str

    def commands(self) -> list[str]:
        """The commands of a shell block. Continued lines are joined."""
        return [line.strip() for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(path: Path = README) -> list[Block]:
    """All fenced blocks of a file, in order."""
    text = path.read_text()
    headings = [(match.start(), match.group(1)) for match in _HEADING.finditer(_without_blocks(text))]
    found = []
    for match in _FENCE.finditer(text):
        heading = next((name for at, name in reversed(headings) if at < match.start()), "")
        found.append(Block(match.group(1), match.group(2), heading))
    return found


def prose(path: Path = README) -> str:
    """The text of a file without its fenced blocks."""
    return _without_blocks(path.read_text())


def anchors(path: Path) -> set[str]:
    """The names by which links point to the headings of a file, as GitHub makes them."""
    headings = (match.group(1).lower() for match in _HEADING.finditer(prose(path)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def table_headings(text: str) -> list[list[str]]:
    """The headings of the tables in what a command printed: capitalised words, two blanks or more between columns."""
    lines = [line for line in text.splitlines() if re.fullmatch(r" ?[A-Z][\w/ -]*( {2,}[A-Z][\w/ -]*)+ *", line)]
    return [line.split() for line in lines if not any(character.isdigit() for character in line)]


def _without_blocks(text: str) -> str:
    # Blanks of the same length keep the offsets of all other text.
    return _FENCE.sub(lambda match: " " * len(match.group(0)), text)
