"""The console that commands print on: a terminal with its own width, or a pipe, where no line is cut or wrapped."""

import json
import os
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from computepool.cli.options import Output

PIPE_WIDTH = 1000


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: brackets are no markup, colons no emoji."""
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def make_table(*headings: str) -> Table:
    """Return an empty table of which only the last column wraps."""
    table = Table(box=None, pad_edge=True)
    for heading in headings:
        table.add_column(heading, no_wrap=heading != headings[-1])
    return table


def print_data(data: dict[str, Any], output: Output, console: Console) -> None:
    """Print one document for programs, as JSON or YAML: without colours, and no line is wrapped.

    Several YAML documents can follow each other.
    """
    text = json.dumps(data, indent=2) if output is Output.JSON else f"---\n{yaml.safe_dump(data, sort_keys=False)}"
    console.print(text.rstrip(), soft_wrap=True, style=None, highlight=False)
