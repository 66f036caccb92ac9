"""What an audit tells people, in one order for every form: sentences, checks, and sections with tables.

`sections.py` makes a document of an audit; `terminal.py`, `markdown.py` and `page.py` write it. All texts are plain:
each form escapes them in its own way.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from computepool.audit.checks import Check

NONE: Final = "-"
UNKNOWN: Final = "not told"
"""What a cell says of what nodes do not tell."""


class Form(msgspec.Struct, frozen=True):
    """How much room there is for a document."""

    most_rows: int
    """Rows of a table. All of them are in --output json."""
    full: bool
    """Whether there is room for more columns and for explanations than on a terminal."""


TERMINAL: Final = Form(most_rows=15, full=False)
PAPER: Final = Form(most_rows=50, full=True)


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    heading: str
    number: bool = False
    """Whether its cells are numbers."""


class Row(msgspec.Struct, frozen=True):
    """A row of a table: a cell for each column. The first cell names the row."""

    cells: tuple[str, ...]
    alarming: bool = False
    """Whether something is wrong that the reader must not miss."""


class Table(msgspec.Struct, frozen=True):
    """A table with the first of its rows. Its last column is the longest text."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    more: int = 0
    """How many rows are left out."""


class Section(msgspec.Struct, frozen=True):
    """A section of a document."""

    title: str
    before: tuple[str, ...] = ()
    """Sentences before the table, each a paragraph."""
    table: Table | None = None
    after: tuple[str, ...] = ()
    """Sentences after the table, each an item of a list."""


class Document(msgspec.Struct, frozen=True):
    """What an audit tells people."""

    verdict: tuple[str, ...]
    """The sentences that a reader takes away, the most important first."""
    origin: str
    """Which cluster was read, and when."""
    checks: tuple[Check, ...]
    sections: tuple[Section, ...]


def table_of(columns: Sequence[Column], rows: Sequence[Row], form: Form) -> Table:
    """Return a table with the first rows. On a terminal it has always the same columns; elsewhere only those that tell
    something."""
    kept = [
        index
        for index in range(len(columns))
        if not form.full or index == 0 or any(row.cells[index] not in (NONE, UNKNOWN) for row in rows)
    ]
    return Table(
        tuple(columns[index] for index in kept),
        tuple(
            msgspec.structs.replace(row, cells=tuple(row.cells[index] for index in kept))
            for row in rows[: form.most_rows]
        ),
        max(0, len(rows) - form.most_rows),
    )
