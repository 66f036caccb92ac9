"""A drill as one page of HTML: self-contained, and made to be printed and kept."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from computepool.cli.drill_live import Ended
from computepool.cli.drill_page_template import TEMPLATE
from computepool.cli.drill_text import Told, clock, meaning_of, name_of, notes, reason_of
from computepool.cli.drill_watch import Real
from computepool.cli.errors import ToldError
from computepool.model.text import rfc3339
from computepool.simulate.drill import Fate, How

_WIDTH: Final = 720.0
"""Of the picture, in pixels."""
_ROW: Final = 14.0
_PICTURED: Final = 60
"""The picture has a row for each of the first pods; the table has all pods."""


def write(path: Path, told: Told, ended: Ended | None = None) -> None:
    """Write the page. Raises ToldError if the file can't be written."""
    try:
        path.write_text(page(told, ended), encoding="utf-8")
    except OSError as error:
        raise ToldError(f"the report was not written: {error}") from None


def page(told: Told, ended: Ended | None = None) -> str:
    """Return the page. `ended`: how the live drill went; None after a dry run."""
    course = told.course
    real = {} if ended is None else {found.fate.pod.uid: found for found in ended.real}
    bad = bool(course.stranded or course.halted) if ended is None else not ended.end.well
    return Template(TEMPLATE).substitute(
        title=escape(f"Drill of {told.pool.name}: {course.provider}"),
        subtitle=escape(f"{_kind(told, ended)}, {rfc3339(int(told.now))}"),
        tone="bad" if bad else "good",
        verdict=escape(told.verdict if ended is None else ended.verdict),
        planned="" if ended is None else f"<p>Planned: {escape(told.verdict)}</p>",
        halted=f"<p class='bad'>No running pod could be moved: {escape(course.halted)}.</p>" if course.halted else "",
        picture=_picture(course.fates, real),
        timeline="".join(_timeline(told)),
        really="<th class='number'>really left</th><th class='number'>really Ready</th>" if ended is not None else "",
        pods="".join(_pod_row(fate, real.get(fate.pod.uid), live=ended is not None) for fate in course.fates),
        stranded=_stranded(course.stranded),
        cost=_cost(told),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes(told)),
    )


def _kind(told: Told, ended: Ended | None) -> str:
    if ended is not None:
        return "Live drill: the provider was drained"
    return "Dry run: the provider fails" if told.course.how is How.FAILS else "Dry run: the provider is drained"


def _timeline(told: Told) -> Iterator[str]:
    for turn in told.course.turns:
        reason = f" ({turn.reason})" if turn.reason else ""
        what = f"The breaker of {turn.provider} is {turn.state}{reason}."
        yield f"<tr><td class='number'>{clock(turn.at)}</td><td>{escape(what)}</td></tr>"


def _pod_row(fate: Fate, real: Real | None, *, live: bool) -> str:
    cells = [
        (name_of(fate), ""),
        (str(fate.accelerators), "number"),
        (_clock(fate.moved_at), "number"),
        (fate.runs_on or fate.target or "-", ""),
        (_clock(fate.ready_at), "number"),
    ]
    if live:
        left, ready = (None, None) if real is None else (real.left_at, real.ready_at)
        cells += [(_clock(left), "number"), (_clock(ready), "number")]
    row = "".join(f"<td class='{kind}'>{escape(text)}</td>" for text, kind in cells)
    return f"<tr class='{'bad' if fate.stranded else ''}'>{row}</tr>"


def _clock(seconds: float | None) -> str:
    return "-" if seconds is None else clock(seconds)


def _stranded(fates: Sequence[Fate]) -> str:
    if not fates:
        return "<p>None.</p>"
    rows = "".join(
        f"<tr><td>{escape(name_of(fate))}</td><td class='number'>{fate.accelerators}</td>"
        f"<td class='word'>{escape(reason_of(fate))}</td><td>{escape(meaning_of(fate))}</td></tr>"
        for fate in fates
    )
    return f"<table><tr><th>pod</th><th>accelerators</th><th>reason</th><th>meaning</th></tr>{rows}</table>"


def _cost(told: Told) -> str:
    before, after = told.course.cost_before, told.course.cost_after
    if before is None or after is None:
        return "<p>The pool's providers have no prices.</p>"
    return f"<p>{before:.2f} an hour before, {after:.2f} an hour after.</p>"


def _picture(fates: Sequence[Fate], real: dict[str, Real]) -> str:
    """Draw a bar for each pod, from the time at which it leaves to the time at which its replacement is Ready."""
    shown = fates[:_PICTURED]
    bars = [(fate, real.get(fate.pod.uid)) for fate in shown]
    longest = max((at for fate, found in bars for at in _ends(fate, found)), default=0.0)
    if not longest:
        return ""
    scale, height = _WIDTH / longest, _ROW * len(bars) + 24
    parts = [part for at, (fate, found) in enumerate(bars) for part in _bars(fate, found, _ROW * at, scale)]
    more = f" (the first {_PICTURED} of {len(fates)})" if len(fates) > _PICTURED else ""
    label = f"<text x='0' y='{height - 6:.0f}'>0 to {escape(clock(longest))}, one row for each pod{more}</text>"
    return (
        f"<svg viewBox='0 0 {_WIDTH:.0f} {height:.0f}' role='img' aria-label='Planned and real times of each pod'>"
        f"{''.join(parts)}{label}</svg>"
    )


def _ends(fate: Fate, real: Real | None) -> Iterable[float]:
    yield from (at for at in (fate.ready_at, fate.moved_at) if at is not None)
    if real is not None:
        yield from (at for at in (real.ready_at, real.left_at) if at is not None)


def _bars(fate: Fate, real: Real | None, top: float, scale: float) -> Iterator[str]:
    spans = [("planned", fate.moved_at, fate.ready_at, top)]
    if real is not None:
        spans.append(("real", real.left_at, real.ready_at, top + _ROW / 2 - 1))
    for kind, start, end, y in spans:
        if start is not None and end is not None:
            width = max(2.0, (end - start) * scale)
            x = min(start * scale, _WIDTH - width)
            title = f"<title>{escape(name_of(fate))}: {kind} {clock(start)} to {clock(end)}</title>"
            yield f"<rect class='{kind}' x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='5'>{title}</rect>"
