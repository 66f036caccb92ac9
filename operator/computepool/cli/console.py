"""The console that commands print on: a terminal with its own width, or a pipe, where no line is cut or wrapped."""

import json
import os
from typing import IO, Any

import yaml
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from computepool.cli.options import Output

PIPE_WIDTH = 1000
MIN_TEXT = 30
"""In fewer columns, sentences become a column of words."""
PADDING = 2
"""Columns between two cells."""


class _LastingConsole(Console):
    """A console that falls silent once nobody reads it, where others end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard(self.file)


def discard(file: IO[str]) -> None:
    """Throw away what could not be printed. Python would try once more when it ends, and print a second error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def make_console(*, stderr: bool = False, lasting: bool = False) -> Console:
    """Return a console that prints text as it is: brackets are no markup, colons no emoji.

    `lasting`: the process goes on after the end of the pipe that it prints into.
    """
    kind = _LastingConsole if lasting else Console
    console = kind(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def make_table(*headings: str) -> Table:
    """Return an empty table of which only the last column wraps."""
    table = Table(box=None, pad_edge=True)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1])
    return table


def print_table(table: Table, console: Console, *, text: int = MIN_TEXT, sentences: bool = False) -> None:
    """Print a table; where it does not fit the terminal, print each row as a paragraph, so that no word is cut.

    `text`: how many columns the last column needs at least, in which words wrap. `sentences`: all cells but the first
    are sentences, and each needs its heading and a line of its own.
    """
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    widths = [
        max(map(cell_len, [str(column.header), *rows])) for column, rows in zip(table.columns, cells, strict=True)
    ]
    needed = sum(widths[:-1]) + min(widths[-1], text) + PADDING * len(widths)
    if needed <= console.width:
        _print_whole(table, console)
        return
    headings = [str(column.header) for column in table.columns]
    for row, (name, *values) in zip(table.rows, zip(*cells, strict=True), strict=True):
        if sentences:
            told = "".join(f"\n{heading}: {value}" for heading, value in zip(headings[1:], values, strict=True))
            console.print(Padding(Text(f"{name}{told}", style=row.style or "default"), (0, 1), expand=False))
            continue
        pairs = ", ".join(f"{heading} {value}" for heading, value in zip(headings[1:-1], values, strict=False))
        style = row.style or "default"
        console.print(Padding(Text(f"{name}: {pairs}", style=style), (0, 1), expand=False))
        if values[-1]:
            console.print(Padding(Text(values[-1], style=style), (0, 1, 0, 3), expand=False))


def _print_whole(table: Table, console: Console) -> None:
    if console.is_terminal:
        console.print(table)
        return
    # The longest cell fills all rows with blanks, which only a terminal hides.
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.print(line.rstrip(), soft_wrap=True)


def print_data(data: dict[str, Any], output: Output, console: Console) -> None:
    """Print one document for programs, as JSON or YAML: without colours, and no line is wrapped.

    Several YAML documents can follow each other.
    """
    text = json.dumps(data, indent=2) if output is Output.JSON else f"---\n{yaml.safe_dump(data, sort_keys=False)}"
    console.print(text.rstrip(), soft_wrap=True, style=None, highlight=False)
