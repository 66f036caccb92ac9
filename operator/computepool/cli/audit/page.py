"""What an audit found, as one page of HTML to look at, to print and to hand on, without a script or another file."""

from collections.abc import Iterable, Iterator
from typing import Final

from computepool.audit.auditing import Audit
from computepool.audit.checks import Check
from computepool.audit.pins import STRANDING
from computepool.cli.audit.document import PAPER, Column, Document, Row, Section, Table
from computepool.cli.audit.pictures import PATTERNS, figures, flow_legend, shown, supply_bars, supply_legend
from computepool.cli.audit.sections import document, lost_wholes
from computepool.cli.audit.style import STYLE
from computepool.cli.audit.wording import amount, title
from computepool.report.formatting import counted

LARGE: Final = 20
"""With more rows, a section begins on a new page of paper."""
FEW: Final = 6
"""Columns of a table beside whose numbers the last text gets much room."""
BRIEF: Final = 24
"""Characters of a cell that stay in one line on a screen."""
LIST: Final = 70
"""Characters of the longest cell that is a single name."""
_NUMBER: Final = ' class="number"'
_HEAD: Final = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    # Names come from the cluster. Even if one were taken for a script, no browser would run it.
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
)


def page(found: Audit) -> str:
    """Return the page. It has ASCII characters only, so it is right in any encoding."""
    told = document(found, PAPER)
    parts = [
        f"{_HEAD}<title>{shown(title(found))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{PATTERNS}\n<main>",
        f'<header>\n<h1>Compute dependency audit</h1>\n<p class="soft">{shown(told.origin)}</p>',
        f"{_verdict(found, told)}\n{_facts(found)}\n</header>",
        _checks(told.checks),
        *_pictures(found),
        *(_section(section) for section in told.sections),
        "</main>\n</body>\n</html>",
    ]
    return "\n".join(parts).encode("ascii", "xmlcharrefreplace").decode()


def _verdict(found: Audit, told: Document) -> str:
    kind = "verdict alarming" if found.worst is not None and found.worst.stranded else "verdict"
    lines = "".join(f"<p>{shown(sentence)}</p>" for sentence in told.verdict)
    return f'<div class="{kind}">{lines}</div>'


def _facts(found: Audit) -> str:
    capacity = sum(row.capacity for row in found.supply)
    pinned = [workload for workload in found.workloads if not set(workload.pins).isdisjoint(STRANDING)]
    facts = (
        (amount(capacity), f"accelerators at {counted(len({row.provider for row in found.supply}), 'provider')}"),
        (amount(sum(row.used for row in found.supply)), "of them used"),
        (str(len(found.workloads)), f"workloads, {len(pinned)} of them with nowhere else to go"),
        (str(sum(not check.passed for check in found.checks)), f"of {len(found.checks)} checks failed"),
    )
    items = "".join(f"<li><b>{shown(number)}</b> {shown(words)}</li>" for number, words in facts)
    return f'<ul class="facts">{items}</ul>'


def _checks(checks: Iterable[Check]) -> str:
    items = "".join(map(_check, checks))
    return f'<section>\n<h2>Checks</h2>\n<ul class="checks">\n{items}</ul>\n</section>'


def _check(check: Check) -> str:
    kind, mark, word = ("passed", "✓", "passed") if check.passed else ("failed", "✗", "FAILED")
    remedy = f'<p class="remedy">{shown(check.remedy)}</p>' if check.remedy else ""
    return (
        f'<li class="{kind}"><span class="result"><span aria-hidden="true">{mark}</span> {word}</span>'
        f"<div><p><b>{shown(check.name)}.</b> {shown(check.message)}</p>{remedy}</div></li>\n"
    )


def _pictures(found: Audit) -> Iterator[str]:
    bars = supply_bars(found.supply)
    if bars:
        yield f"<section>\n<h2>Where the accelerators are</h2>\n{supply_legend()}\n{bars}\n</section>"
    losses = lost_wholes(found)
    if losses:
        yield (
            "<section>\n<h2>What moves where</h2>\n"
            '<p class="soft">Accelerators that pods hold, each picture to a scale of its own.</p>\n'
            f"{flow_legend(losses)}\n"
            f'<div class="figures">{figures(losses)}</div>\n</section>'
        )


def _section(section: Section) -> str:
    large = section.table is not None and len(section.table.rows) > LARGE
    before = "".join(f"<p>{shown(text)}</p>\n" for text in section.before)
    after = "".join(f"<li>{shown(text)}</li>" for text in section.after)
    table = _table(section.table, section.title) if section.table is not None else ""
    notes = f'<ul class="notes">{after}</ul>\n' if after else ""
    begin = '<section class="large">' if large else "<section>"
    return f"{begin}\n<h2>{shown(section.title)}</h2>\n{before}{table}{notes}</section>"


def _table(table: Table, name: str) -> str:
    """Write a table in a box of its own, which scrolls where the screen is narrow."""
    heads = "".join(
        f'<th scope="col"{_NUMBER if column.number else ""}>{shown(column.heading)}</th>' for column in table.columns
    )
    rows = "\n".join(_row(row, table.columns) for row in table.rows)
    begin = '<table class="few">' if len(table.columns) <= FEW else "<table>"
    more = f'<p class="soft">And {table.more} more: see --output json.</p>\n' if table.more else ""
    return (
        f'<div class="box" role="region" tabindex="0" aria-label="{shown(name)}">\n{begin}\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>\n{more}"
    )


def _row(row: Row, columns: tuple[Column, ...]) -> str:
    cells = [f"{_kind(cell, column)}>{shown(cell)}" for cell, column in zip(row.cells, columns, strict=True)]
    others = "".join(f"<td{cell}</td>" for cell in cells[1:])
    begin = '<tr class="alarming">' if row.alarming else "<tr>"
    return f'{begin}<th scope="row"{cells[0]}</th>{others}</tr>'


def _kind(cell: str, column: Column) -> str:
    if column.number:
        return _NUMBER
    if len(cell) <= BRIEF:
        return ' class="brief"'
    return ' class="long"' if len(cell) <= LIST else ' class="long list"'
