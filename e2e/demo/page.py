"""Writes the timeline and the most important numbers as one self-contained page, `build/demo/report.html`."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

from e2e.demo.chart import WAYS, Chart
from e2e.demo.report import Report
from e2e.demo.timeline import Mark, Timeline, Way, pods_by_step

TEMPLATE = Path(__file__).with_name("page.html")
STYLE = Path(__file__).with_name("chart.css")


def page(report: Report, timeline: Timeline) -> str:
    """Return the page as HTML."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=STYLE.read_text(encoding="utf-8"),
        verdict="all as it should be" if report.succeeded else "not all as it should be",
        tone="good" if report.succeeded else "bad",
        badge="✓ all as it should be" if report.succeeded else "✗ not all as it should be",
        subtitle=f"Kubernetes {escape(report.kubernetes)}, a real control plane with simulated nodes; "
        f"{report.seconds:.0f} s from nothing to the end.",
        troubles=_troubles(report),
        cards="".join(_cards(report)),
        chart=Chart(timeline).svg(),
        legend="".join(_legend(timeline)),
        heads="".join(f'<th scope="col" class="number">{escape(lane.provider)}</th>' for lane in timeline.lanes),
        steps="".join(_steps(timeline)),
        marks="".join(_mark(number, mark) for number, mark in enumerate(timeline.marks, 1)),
        method="".join(
            f'<tr><th scope="row"><code>{escape(name)}</code></th><td class="wide">{escape(text)}</td></tr>'
            for name, text in report.method.items()
        ),
    )


def picture(timeline: Timeline) -> str:
    """Return the timeline alone, as an SVG that brings its own style, for where a page has no place."""
    style = STYLE.read_text(encoding="utf-8")
    ground = '<rect width="100%" height="100%" rx="10" style="fill: var(--card)"/>'
    start, tag, rest = Chart(timeline).svg().partition(">")
    start = start.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ')
    return f"{start}{tag}<style>{style}</style>{ground}{rest}\n"


def write(path: Path, report: Report, timeline: Timeline) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(report, timeline), encoding="utf-8")


def _troubles(report: Report) -> str:
    if report.succeeded:
        return ""
    return "<ul>" + "".join(f"<li>{escape(trouble)}</li>" for trouble in report.troubles) + "</ul>"


def _cards(report: Report) -> Iterator[str]:
    failover, failback = report.failover, report.failback
    patched, admitted = report.bound_ms_by["patch"], report.bound_ms_by["admission"]
    yield _card(
        f"{report.burst_pods} <small>of {report.overflow_pods}</small>",
        "pods burst to a standby",
        f"{report.by.patch} by patch, {report.by.admission} at admission; none was restarted or evicted for it",
    )
    yield _card(
        f"{report.burst_ms.p99:.0f} <small>ms</small>",
        "from overflow to patched, p99",
        f"from created to bound, p99: {patched.p99:.0f} ms by patch, {admitted.p99:.0f} ms at admission",
    )
    where = ", ".join(f"{count} to {provider}" for provider, count in failover.to.items())
    yield _card(
        f"{_seconds(report.failover_ms.max)} <small>s</small>",
        f"to move {failover.moves} pods off {escape(failover.provider)}",
        f"from the breaker's opening to the last new place: {escape(where) or 'none moved'}",
    )
    yield _card(
        f"{_seconds(report.silence_ms.max)} <small>s</small>",
        "from last heartbeat to last place",
        f"{_seconds(failover.detected_ms)} s of it to be sure that the provider has failed",
    )
    yield _card(
        f"{failback.moves} <small>pods</small>",
        f"came home in {failback.seconds:.0f} s",
        f"at most {failback.at_once} at once (limit {failback.at_once_limit}) and {failback.in_a_minute} in a minute "
        f"(limit {failback.in_a_minute_limit})",
    )
    yield _card(
        f"{report.pdb_violations} · {failback.flaps} · {report.restarts}",
        "budget violations · flaps · restarts",
        f"over {report.moves} moves of running pods, counted by an independent watch",
    )


def _card(number: str, what: str, more: str) -> str:
    return f"<li><b>{number}</b><strong>{what}</strong><span>{more}</span></li>"


def _legend(timeline: Timeline) -> Iterator[str]:
    used = {strand.way for lane in timeline.lanes for strand in lane.strands}
    for way in Way:
        if way in used:
            yield _key(f'<path class="strand {way}" d="M0 6H34"/>', WAYS[way])
    yield _key('<path class="leaving" d="M0 6H34"/>', "evicted, on a node that no longer answers")
    yield _key('<path class="move failover" d="M2 1C20 1 14 11 32 11"/>', "a pod's place is taken by another")
    if timeline.curves:
        yield _key('<path class="curve" d="M0 10H12V3H34"/>', "the value of a signal from metrics")
        yield _key('<path class="threshold enter" d="M0 6H34"/>', "the signal turns on")
        yield _key('<path class="threshold exit" d="M0 6H34"/>', "the signal turns off")
    yield _key('<path class="beats" d="M2 1v10M10 1v10M18 1v10M26 1v10"/>', "a heartbeat of a node")


def _key(drawing: str, words: str) -> str:
    return f'<li><svg viewBox="0 0 34 12" aria-hidden="true">{drawing}</svg>{escape(words)}</li>'


def _steps(timeline: Timeline) -> Iterator[str]:
    for step, pods in pods_by_step(timeline):
        counts = "".join(f'<td class="number">{pods[lane.provider]}</td>' for lane in timeline.lanes)
        yield (
            f'<tr><th scope="row">{step.number}</th><td class="number">{step.at:.1f} s</td>'
            f"<td>{escape(step.title)}</td>{counts}</tr>"
        )


def _mark(number: int, mark: Mark) -> str:
    kind, reason = ("decided", f"<code>{escape(mark.reason)}</code>") if mark.decided else ("done", "")
    more = f" And {mark.times - 1} more like it." if mark.times > 1 else ""
    more += f" Until {mark.until:.1f} s." if mark.until - mark.at >= 0.1 else ""
    return (
        f'<tr><td><span class="no {kind}">{number}</span></td><td class="number">{mark.at:.1f} s</td><td>{reason}</td>'
        f"<td>{escape(mark.text + more)}</td></tr>"
    )


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f}"
