"""What an audit found, as GitHub-flavoured Markdown: for a pull request, an issue or a wiki."""

import re
from collections.abc import Iterable
from typing import Final

from computepool.audit.auditing import Audit
from computepool.audit.checks import Check
from computepool.cli.audit.document import PAPER, Section, Table
from computepool.cli.audit.sections import document
from computepool.model.text import printable

_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|~&#])")
_AT_A_LINE_START: Final = re.compile(r"^(\d*)([+=.)-])")
"""What may make a list or a rule of a paragraph."""


def as_markdown(found: Audit) -> str:
    """Return an audit as Markdown, in the order of the terminal."""
    told = document(found, PAPER)
    first, *others = told.verdict
    lines = ["# Compute dependency audit", "", _paragraph(told.origin), "", f"**{_escaped(first)}**", ""]
    for sentence in others:
        lines += [_paragraph(sentence), ""]
    lines += ["## Checks", "", *_checks(told.checks), ""]
    for section in told.sections:
        lines += section_lines(section)
    return "\n".join(lines).rstrip()


def _checks(checks: Iterable[Check]) -> Iterable[str]:
    yield "| Check | Result | What was found, and what mends it |"
    yield "| --- | --- | --- |"
    for check in checks:
        result = "passed" if check.passed else "**failed**"
        yield f"| {check.name} | {result} | {_escaped(f'{check.message} {check.remedy}')} |"


def section_lines(section: Section) -> Iterable[str]:
    """Yield the lines of a section."""
    yield from (f"## {_escaped(section.title)}", "")
    for text in section.before:
        yield from (_paragraph(text), "")
    if section.table is not None:
        yield from (*_table(section.table), "")
    for text in section.after:
        yield f"- {_paragraph(text)}"
    if section.after:
        yield ""


def _table(table: Table) -> Iterable[str]:
    yield _row(column.heading for column in table.columns)
    yield f"| {' | '.join('---:' if column.number else '---' for column in table.columns)} |"
    for row in table.rows:
        first, *others = map(_escaped, row.cells)
        yield f"| {f'**{first}**' if row.alarming else first} | {' | '.join(others)} |"
    if table.more:
        yield ""
        yield f"And {table.more} more: see `--output json`."


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _paragraph(text: str) -> str:
    return _AT_A_LINE_START.sub(r"\1\\\2", _escaped(text))


def _escaped(text: str) -> str:
    """Return a text in one line that means itself, in a paragraph and in the cell of a table."""
    return _SPECIAL.sub(r"\\\1", printable(text))
