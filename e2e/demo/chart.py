"""Draws the timeline as one SVG: a row for each provider, a line for each pod, and marks for decisions.

Colours and patterns are the page's (page.html); nothing is told by colour alone: ways differ in their dashes, bands in
their hatching and words, marks in their shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape

from e2e.demo.timeline import Band, Curve, Lane, Mark, Strand, Timeline, Way

WIDTH = 1280
LEFT, RIGHT = 118, 64
SLOT = 4.0
"""Height of one accelerator."""
LANE = 50.0
"""Least height of a lane: its name and size stand beside it."""
CURVE = 64.0
"""Height of a signal's curve."""
STEPS = 40
BAND, GAP = 15.0, 16.0
BEATS = 9.0
MARK = 18.0
AXIS = 26.0
# So wide must a band be for its words, and a character of them is about so wide.
CHARACTER = 6.4
WAYS = {
    Way.START: "placed on the primary by the scheduler",
    Way.PATCH: "sent by patch",
    Way.ADMISSION: "sent at admission",
    Way.FAILOVER: "moved off a failed provider",
    Way.HOME: "came home",
}
STATES = {"Open": "breaker open", "HalfOpen": "on trial", "Closed": "in use"}
SHORT = {"Open": ("open", "✗"), "HalfOpen": ("trial", "?"), "Closed": ("✓",)}
"""Where there is no room for that."""


class Chart:
    """Draws one timeline from top to bottom."""

    def __init__(self, timeline: Timeline) -> None:
        """Nothing is drawn yet."""
        self._timeline = timeline
        self._scale = (WIDTH - LEFT - RIGHT) / max(timeline.seconds, 1e-9)
        self._y = 0.0
        self._parts: list[str] = []
        self._lane_top: dict[str, float] = {}

    def svg(self) -> str:
        """Return the picture."""
        self._steps()
        self._saturation()
        self._admission()
        for curve in self._timeline.curves:
            self._curve(curve)
        for lane in self._timeline.lanes:
            self._lane(lane)
        self._moves()
        self._marks()
        self._axis()
        height = self._y
        lines = "".join(
            f'<line class="step" x1="{self._x(step.at):.1f}" x2="{self._x(step.at):.1f}" y1="{STEPS - 6}" '
            f'y2="{height - AXIS:.1f}"/>'
            for step in self._timeline.steps
        )
        return (
            f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-labelledby="chart-title chart-text">'
            f'<title id="chart-title">Pods by provider over {self._timeline.seconds:.0f} seconds</title>'
            f'<desc id="chart-text">{escape(described(self._timeline))}</desc>'
            f"{_PATTERNS}{lines}{''.join(self._parts)}</svg>"
        )

    # -- rows ------------------------------------------------------------------------------------------------------

    def _steps(self) -> None:
        starts = spaced([self._x(step.at) for step in self._timeline.steps], MARK + 2)
        for step, x, end in zip(self._timeline.steps, starts, [*starts[1:], WIDTH - RIGHT], strict=True):
            self._add(
                f'<g class="step-head"><title>{escape(step.title)}</title>'
                f'<circle cx="{x + 9:.1f}" cy="17" r="9"/><text x="{x + 9:.1f}" y="21">{step.number}</text></g>'
            )
            lines = heading(step.title, int((end - x - 26) / CHARACTER), rows=2)
            for row, words in enumerate(lines):
                y = 15 + 13 * row if len(lines) > 1 else 21
                self._add(f'<text class="step-title" x="{x + 23:.1f}" y="{y}">{escape(words)}</text>')
        self._y = STEPS

    def _saturation(self) -> None:
        self._label("saturated", self._y + 12, "side")
        for band in self._timeline.saturation:
            words = {"True": f"primary saturated: {band.text}", "False": "primary has room"}.get(band.state, "unknown")
            self._band(band, self._y, f"saturated-{band.state}", words, words.partition(":")[0])
        self._y += BAND + GAP

    def _admission(self) -> None:
        self._label("admission", self._y + 12, "side")
        for band in self._timeline.admission:
            kind, words = ("admits", f"open to {band.state}") if band.state else ("closed", "closed")
            self._band(band, self._y, kind, f"admission {words}", words, "open" if band.state else "")
        self._y += BAND + GAP

    def _curve(self, curve: Curve) -> None:
        """Draw the value as steps over the time for which the pool had the signal, and its thresholds as lines."""
        if not curve.points:
            return
        top, start, end = self._y, self._x(curve.points[0][0]), self._x(self._timeline.seconds)
        highest = max([curve.enter, curve.exit, *(value for _, value in curve.points if value is not None)])
        scale = (CURVE - 6) / max(highest, 1e-9)

        def level(value: float) -> float:
            return top + CURVE - max(value, 0.0) * scale

        self._label(curve.key.rpartition("/")[2], top + 13, "lane-name")
        self._label("signal", top + 28, "side")
        self._label(curve.unit, top + 42, "side")
        self._add(f'<rect class="room" x="{start:.1f}" y="{top}" width="{end - start:.1f}" height="{CURVE}"/>')
        for band in (band for band in curve.on if band.state == "On"):
            x, width = self._x(band.start), self._x(band.end) - self._x(band.start)
            title = f"signal on, {_clock(band.start)} to {_clock(band.end)}"
            self._add(
                f'<rect class="signal-on" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{CURVE}">'
                f"<title>{escape(title)}</title></rect>"
            )
        for name, value in (("enter", curve.enter), ("exit", curve.exit)):
            y = level(value)
            self._add(f'<path class="threshold {name}" d="M{start:.1f} {y:.1f}H{end:.1f}"/>')
            words = f"{name} at {value:g}"
            self._add(f'<text class="side left" x="{start - 6:.1f}" y="{y + 4:.1f}">{words}</text>')
        self._add(f'<path class="curve" d="{"".join(self._stairs(curve, level))}"/>')
        self._y += CURVE + GAP

    def _stairs(self, curve: Curve, level: Callable[[float], float]) -> Iterator[str]:
        """Give the steps of the curve as a path, with a gap where the value is unknown."""
        drawn = False
        until = [at for at, _ in curve.points[1:]] + [self._timeline.seconds]
        for (at, value), end in zip(curve.points, until, strict=True):
            if value is not None:
                y = level(value)
                yield f"V{y:.1f}" if drawn else f"M{self._x(at):.1f} {y:.1f}"
                yield f"H{self._x(end):.1f}"
            drawn = value is not None

    def _lane(self, lane: Lane) -> None:
        top, height = self._y, max(LANE, lane.accelerators * SLOT)
        body = top + BEATS + 3
        self._lane_top[lane.provider] = body
        self._label(lane.provider, body + 13, "lane-name")
        self._label("primary" if lane.primary else "standby", body + 28, "side")
        self._label(f"{lane.accelerators} accelerators", body + 42, "side")
        self._beats(lane, top)
        self._add(
            f'<rect class="room" x="{LEFT}" y="{body:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{height:.1f}"/>'
        )
        for band in lane.taken:
            self._taken(band, body + height)
        for strand in lane.strands:
            self._strand(strand, body, lane.provider)
        end = lane.pods_at(self._timeline.seconds - 0.001)
        self._add(f'<text class="count" x="{WIDTH - RIGHT + 8}" y="{body + 15:.1f}">{end}</text>')
        self._add(f'<text class="side" x="{WIDTH - RIGHT + 8}" y="{body + 29:.1f}">at the end</text>')
        self._y = body + height + 3
        for band in lane.breaker:
            state = STATES.get(band.state, band.state)
            words = f"{state}: {band.text}" if band.text and band.state == "Open" else state
            self._band(band, self._y, f"breaker-{band.state}", words, state, *SHORT.get(band.state, ()))
        self._label("breaker", self._y + 12, "side")
        self._y += BAND + GAP

    def _beats(self, lane: Lane, top: float) -> None:
        self._label("heartbeats", top + 8, "side")
        ticks = "".join(f"M{self._x(at):.1f} {top:.1f}v{BEATS}" for at in lane.heartbeats)
        self._add(f'<path class="beats" d="{ticks}"/>')
        for band in lane.silent:
            self._band(band, top, "silent", "silent, all nodes", "silent", height=BEATS)

    def _taken(self, band: Band, bottom: float) -> None:
        height = int(band.state) * SLOT
        x, width = self._x(band.start), self._x(band.end) - self._x(band.start)
        self._add(
            f'<rect class="taken" x="{x:.1f}" y="{bottom - height:.1f}" width="{width:.1f}" height="{height:.1f}">'
            f"<title>{escape(band.text)}: {band.state} accelerators</title></rect>"
            f'<text class="taken-text" x="{x + 12:.1f}" y="{bottom - height / 2 + 4:.1f}">'
            f"{escape(band.text)} holds {band.state} accelerators</text>"
        )

    def _strand(self, strand: Strand, top: float, provider: str) -> None:
        y = top + (strand.slot + 0.5) * SLOT
        until = "the end" if strand.leaving is None else _clock(strand.leaving)
        title = f"{strand.name} on {provider}, {_clock(strand.start)} to {until}: {WAYS[strand.way]}"
        stop = self._x(strand.stop)
        lines = f'<path class="strand {strand.way}" d="M{self._x(strand.start):.1f} {y:.1f}H{stop:.1f}"/>'
        if self._x(strand.end) - stop > 1:
            lines += f'<path class="leaving" d="M{stop:.1f} {y:.1f}H{self._x(strand.end):.1f}"/>'
        self._add(f"<g><title>{escape(title)}</title>{lines}</g>")

    def _moves(self) -> None:
        """Draw a line from where each moved pod left to where its replacement begins."""
        left = {
            strand.name: (self._x(strand.leaving), self._lane_top[lane.provider] + (strand.slot + 0.5) * SLOT)
            for lane in self._timeline.lanes
            for strand in lane.strands
            if strand.leaving is not None
        }
        for lane in self._timeline.lanes:
            for strand in lane.strands:
                if strand.replaces in left:
                    x1, y1 = left[strand.replaces]
                    x2, y2 = self._x(strand.start), self._lane_top[lane.provider] + (strand.slot + 0.5) * SLOT
                    bend = max(10.0, x2 - x1)
                    self._add(
                        f'<path class="move {strand.way}" d="M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} '
                        f'{x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"/>'
                    )

    def _marks(self) -> None:
        self._label("decisions", self._y + 13, "side")
        rows = placed([self._mark_x(mark) for mark in self._timeline.marks], MARK + 2)
        for number, (mark, row) in enumerate(zip(self._timeline.marks, rows, strict=True), 1):
            self._mark(mark, number, self._y + row * (MARK + 2))
        self._y += (max(rows, default=0) + 1) * (MARK + 2) + 8

    def _mark(self, mark: Mark, number: int, top: float) -> None:
        x, y = self._mark_x(mark), top + MARK / 2
        tail = ""
        if self._x(mark.until) - x > MARK:
            tail = f'<line class="mark-tail" x1="{x:.1f}" x2="{self._x(mark.until):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        title = f"{_clock(mark.at)} {mark.reason or 'done by hand'}: {mark.text}"
        self._add(
            f'{tail}<g class="{"decided" if mark.decided else "done"}"><title>{escape(title)}</title>'
            f'{_shape(mark, x, y)}<text x="{x:.1f}" y="{y + 3.6:.1f}">{number}</text></g>'
        )

    def _axis(self) -> None:
        y = self._y
        self._add(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for second in range(0, int(self._timeline.seconds) + 1, ticks_every(self._timeline.seconds)):
            x = self._x(second)
            self._add(f'<path class="axis" d="M{x:.1f} {y:.1f}v5"/>')
            self._add(f'<text class="tick" x="{x:.1f}" y="{y + 18:.1f}">{_clock(second)}</text>')
        self._y += AXIS

    # -- parts of rows ---------------------------------------------------------------------------------------------

    def _band(self, band: Band, y: float, kind: str, *wordings: str, height: float = BAND) -> None:
        """Draw a stretch of time, in it the longest of the wordings that fits."""
        x, width = self._x(band.start), self._x(band.end) - self._x(band.start)
        title = f"{wordings[0]}, {_clock(band.start)} to {_clock(band.end)}"
        self._add(
            f'<rect class="band {kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}">'
            f"<title>{escape(title)}</title></rect>"
        )
        words = next((words for words in wordings if len(words) * CHARACTER + 10 < width), "")
        if words:
            down = height / 2 + 4
            self._add(f'<text class="band-text {kind}" x="{x + 6:.1f}" y="{y + down:.1f}">{escape(words)}</text>')

    def _label(self, text: str, y: float, kind: str) -> None:
        self._add(f'<text class="{kind} left" x="{LEFT - 10}" y="{y:.1f}">{escape(text)}</text>')

    def _mark_x(self, mark: Mark) -> float:
        """The first marks stay clear of the labels."""
        return max(self._x(mark.at), LEFT + MARK / 2)

    def _x(self, at: float) -> float:
        return LEFT + min(max(at, 0.0), self._timeline.seconds) * self._scale

    def _add(self, part: str) -> None:
        self._parts.append(part)


def described(timeline: Timeline) -> str:
    """Say in words what the picture shows."""
    lanes = "; ".join(
        f"{lane.provider}: {lane.pods_at(timeline.seconds - 0.001)} of its {lane.accelerators} accelerators run pods "
        "of the pool at the end"
        for lane in timeline.lanes
    )
    curves = "".join(
        f" The signal {curve.key} goes up to {max((value or 0 for _, value in curve.points), default=0):g} "
        f"{curve.unit}; it turns on at {curve.enter:g} and off at {curve.exit:g}."
        for curve in timeline.curves
    )
    return (
        f"One lane for each provider, one line for each pod. {lanes}.{curves} The tables below tell the same in words."
    )


def placed(xs: Sequence[float], room: float) -> list[int]:
    """Give marks at these places, left to right, rows in which they do not overlap, each the first that is free."""
    free_from: list[float] = []
    rows = []
    for x in xs:
        row = next((index for index, at in enumerate(free_from) if at <= x), len(free_from))
        free_from[row : row + 1] = [x + room]
        rows.append(row)
    return rows


def ticks_every(seconds: float) -> int:
    """Return whole seconds between ticks, so that there are about a dozen."""
    return next((step for step in (1, 2, 5, 10, 15, 30, 60) if seconds / step <= 15), 120)


def _shape(mark: Mark, x: float, y: float) -> str:
    half = MARK / 2
    if mark.decided:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{half}"/>'
    return f'<rect x="{x - half + 1:.1f}" y="{y - half + 1:.1f}" width="{MARK - 2}" height="{MARK - 2}" rx="2"/>'


def spaced(xs: Sequence[float], room: float) -> list[float]:
    """Move places to the right as far as it takes for none to overlap the one before."""
    moved: list[float] = []
    for x in xs:
        moved.append(max(x, moved[-1] + room) if moved else x)
    return moved


def heading(title: str, width: int, rows: int) -> list[str]:
    """Return a step's title in lines, or as much of it as makes sense alone; nothing where not even that fits."""
    for text in (title, re.split("[:,;]", title)[0]):
        if lines := _wrapped(text, width, rows):
            return lines
    return []


def _wrapped(text: str, width: int, rows: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    fits = len(lines) <= rows and all(len(line) <= width for line in lines)
    return lines if fits else []


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _pattern(name: str, lines: Iterable[str]) -> str:
    return (
        f'<pattern id="{name}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect class="{name}-ground" width="8" height="8"/><path class="{name}-lines" d="{"".join(lines)}"/></pattern>'
    )


_RISING, _FALLING = "M-2 2l4 -4M0 8l8 -8M6 10l4 -4", "M-2 6l4 4M0 0l8 8M6 -2l4 4"
_PATTERNS = (
    "<defs>"
    + _pattern("hatch-open", [_RISING])
    + _pattern("hatch-trial", ["M0 2h8M0 6h8"])
    + _pattern("hatch-saturated", [_FALLING])
    + _pattern("hatch-admits", ["M2 0v8M6 0v8"])
    + _pattern("hatch-taken", [_RISING, _FALLING])
    + _pattern("hatch-silent", ["M2 0v8M6 0v8"])
    + "</defs>"
)
