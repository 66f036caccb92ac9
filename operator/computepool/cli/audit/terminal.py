"""What an audit found, on a terminal: the verdict first, then what it rests on."""

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as DrawnTable
from rich.text import Text

from computepool.audit.auditing import Audit
from computepool.cli.audit.document import TERMINAL, Document, Section, Table
from computepool.cli.audit.sections import document
from computepool.cli.console import MIN_TEXT, make_table, print_table
from computepool.model.text import printable


def print_audit(found: Audit, console: Console) -> None:
    """Print an audit."""
    told = document(found, TERMINAL)
    for line in told.verdict:
        console.print(Text(printable(line), style="bold"))
    _print_checks(told, console)
    for section in told.sections:
        _print_section(section, console)


def _print_checks(told: Document, console: Console) -> None:
    table = make_table("Check", "Result", "What was found, and what mends it")
    for check in told.checks:
        text = printable(f"{check.message} {check.remedy}")
        style = "green" if check.passed else "red"
        table.add_row(str(check.name), "ok" if check.passed else "FAILED", text, style=style)
    console.print()
    _print(table, console)


def _print_section(section: Section, console: Console) -> None:
    console.print()
    console.print(Text(printable(section.title), style="bold underline"))
    for text in section.before:
        console.print(printable(text))
    if section.table is not None:
        _print_rows(section.table, console)
    for text in section.after:
        console.print(printable(text))


def _print_rows(table: Table, console: Console) -> None:
    drawn = make_table(*(column.heading for column in table.columns))
    for column, drawn_column in zip(table.columns, drawn.columns, strict=True):
        drawn_column.justify = "right" if column.number else "left"
    for row in table.rows:
        drawn.add_row(*map(printable, row.cells), style="red" if row.alarming else "default")
    _print(drawn, console)
    if table.more:
        console.print(f"And {table.more} more: see --output json.")


def _print(drawn: DrawnTable, console: Console) -> None:
    """Print a table; where it is too narrow for the words of its last column, print each row as a paragraph."""
    words = [word for cell in drawn.columns[-1].cells for word in str(cell).split()]
    drawn.columns[-1].overflow = "fold"
    print_table(drawn, console, text=max([MIN_TEXT, *map(cell_len, words)]))
