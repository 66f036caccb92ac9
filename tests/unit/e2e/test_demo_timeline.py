"""The demo's timeline: strands, bands and marks made of what was seen, and the page that shows them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from e2e.demo.chart import WAYS, Chart, placed, ticks_every
from e2e.demo.page import STYLE, page, picture
from e2e.demo.timeline import Lane, Timeline, Way, pods_by_step
from tests.unit.e2e.demo_course import QUEUE, Course, course, queued, report, timeline

# HTML elements that have no end.
VOID = frozenset({"meta", "br", "link", "img", "input"})


class _Reader(HTMLParser):
    """Checks that elements close in order, and notes what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


@pytest.fixture(scope="module")
def drawn() -> Timeline:
    return timeline(course())


def _lane(drawn: Timeline, provider: str) -> Lane:
    return next(lane for lane in drawn.lanes if lane.provider == provider)


def test_each_pod_is_a_strand_that_tells_how_it_came(drawn: Timeline) -> None:
    ways = {lane.provider: [strand.way for strand in lane.strands] for lane in drawn.lanes}
    assert ways["nebius"] == [Way.PATCH, Way.PATCH, Way.ADMISSION, Way.ADMISSION, Way.ADMISSION]
    assert ways["crusoe"] == [Way.ADMISSION] * 2 + [Way.FAILOVER] * 4
    assert ways["aws"] == [Way.START] * 4 + [Way.HOME] * 7


def test_a_replacement_names_the_pod_whose_place_it_took(drawn: Timeline) -> None:
    moved = [strand for strand in _lane(drawn, "crusoe").strands if strand.way is Way.FAILOVER]
    assert [(one.name, one.replaces) for one in moved] == [
        ("chat-k", "chat-e"),
        ("chat-l", "chat-f"),
        ("chat-m", "chat-g"),
        ("chat-n", "chat-h"),
    ]


def test_no_two_pods_are_in_one_place_at_the_same_time(drawn: Timeline) -> None:
    for lane in drawn.lanes:
        for one in lane.strands:
            others = [s for s in lane.strands if s is not one and s.slot == one.slot]
            assert all(other.end <= one.start or other.start >= one.end for other in others)
            assert one.slot < lane.accelerators


def test_a_pod_on_a_dead_node_runs_until_it_is_told_to_leave_and_holds_its_place_until_it_is_gone(
    drawn: Timeline,
) -> None:
    nebius = _lane(drawn, "nebius")
    first = nebius.strands[0]
    assert first.leaving == pytest.approx(25.6)
    assert first.end == pytest.approx(35.5)
    assert (nebius.pods_at(25.0), nebius.pods_at(30.0)) == (4, 0)


def test_bands_follow_the_breaker_and_the_heartbeats(drawn: Timeline) -> None:
    nebius = _lane(drawn, "nebius")
    assert [band.state for band in nebius.breaker] == ["Closed", "Open", "HalfOpen", "Closed"]
    assert nebius.breaker[1].text == "ProviderSilent"
    assert [(band.start, band.end) for band in nebius.silent] == [(20.0, 35.0)]
    assert _lane(drawn, "crusoe").silent == []
    assert [band.state for band in drawn.saturation] == ["False", "True", "False"]


def test_a_curve_begins_with_its_signal_and_has_a_gap_where_the_value_is_unknown() -> None:
    drawn = timeline(queued())
    (curve,) = drawn.curves
    assert (curve.key, curve.unit, curve.enter, curve.exit) == (QUEUE, "requests", 5.0, 1.0)
    assert curve.points == [(54.0, None), (55.0, 0.0), (56.0, 6.0), (57.0, None), (58.0, 8.0), (59.0, 0.0)]
    assert [(band.state, band.start) for band in curve.on if band.state == "On"] == [("On", 56.0), ("On", 58.0)]
    line = ElementTree.fromstring(Chart(drawn).svg()).find("*[@class='curve']")
    assert line is not None
    # Two pieces, which begin at 55 s and at 58 s.
    assert re.findall(r"[MVH]", line.get("d", "")) == ["M", "H", "V", "H", "M", "H", "V", "H"]


def test_the_picture_shows_thresholds_when_the_signal_was_on_and_when_admission_was_open() -> None:
    svg = Chart(timeline(queued())).svg()
    for text in ("enter at 5", "exit at 1", "signal on, 0:56 to 0:57", "admission open to nebius, 0:56 to 0:59"):
        assert text in svg
    assert "The signal saturation/queue goes up to 8 requests; it turns on at 5 and off at 1." in svg
    assert "the signal turns on" in page(report(queued()), timeline(queued()))


def test_a_pool_without_signals_has_no_curve(drawn: Timeline) -> None:
    assert 'class="curve"' not in Chart(drawn).svg()


def test_moves_in_a_row_are_one_mark_with_all_their_pods(drawn: Timeline) -> None:
    (home,) = [mark for mark in drawn.marks if mark.reason == "ComesHome"]
    assert home.text.startswith("7 pods moved from crusoe to aws. The primary has had room")
    assert home.at == pytest.approx(50.0, abs=0.01)
    assert home.until == pytest.approx(51.8, abs=0.01)
    (away,) = [mark for mark in drawn.marks if mark.reason == "LeavesProvider"]
    assert away.text.startswith("4 pods moved from nebius to crusoe.")


def test_decisions_of_one_reason_in_a_row_are_one_mark_and_later_ones_another() -> None:
    seen = course()
    seen.tell(6.0, "PodsOverflow", "New pods may use crusoe from their creation on.", "Admission")
    seen.tell(30.0, "PodsOverflow", "New pods may use nebius once more.", "Admission")
    marks = [mark for mark in timeline(seen).marks if mark.reason == "PodsOverflow"]
    assert [(mark.text, mark.times) for mark in marks] == [
        ("New pods may use nebius from their creation on.", 2),
        ("New pods may use nebius once more.", 1),
    ]


def test_bursts_are_told_once_with_all_their_pods() -> None:
    seen = course()
    seen.log_sent(5.4, "nebius", "PrimarySaturated", 3, message="burst")
    (mark,) = [mark for mark in timeline(seen).marks if mark.reason == "PrimarySaturated"]
    assert mark.text.startswith("5 pods sent to nebius. The primary can't take the pod")


def test_what_the_demo_did_is_marked_too(drawn: Timeline) -> None:
    assert [mark.text for mark in drawn.marks if not mark.decided] == [
        "The kubelets of nebius die.",
        "The training is over.",
    ]


def test_pods_are_counted_at_the_end_of_each_step(drawn: Timeline) -> None:
    counts = [dict(pods) for _, pods in pods_by_step(drawn)]
    assert counts[1] == {"aws": 4, "nebius": 4, "crusoe": 2}
    assert counts[2] == {"aws": 4, "nebius": 0, "crusoe": 6}
    assert counts[4] == {"aws": 11, "nebius": 0, "crusoe": 0}


def test_the_picture_is_well_formed_and_has_a_title_and_a_description(drawn: Timeline) -> None:
    svg = ElementTree.fromstring(Chart(drawn).svg())
    assert svg.get("role") == "img"
    named = {one.get("id"): one.text for one in svg if one.get("id")}
    assert (named["chart-title"] or "").startswith("Pods by provider over 60 seconds")
    assert "aws: 11 of its 12" in (named["chart-text"] or "")
    assert all(key in str(svg.get("aria-labelledby")) for key in ("chart-title", "chart-text"))


def test_ways_and_bands_differ_without_colour() -> None:
    style = STYLE.read_text(encoding="utf-8")
    strokes = {way: re.search(rf"svg \.{way} {{[^}}]*?(stroke-dasharray: [^;]+;|}})", style) for way in Way}
    dashes = [found.group(1) for way, found in strokes.items() if found]
    assert len(dashes) == len(WAYS)
    # The two that are solid are never in one lane: those at home from the start, and those admitted to a standby.
    assert len(set(dashes)) == len(WAYS) - 1
    for state in ("saturated-True", "admits", "breaker-Open", "breaker-HalfOpen", "silent"):
        assert f".band.{state} {{ fill: url(#hatch-" in style


def test_the_page_is_one_file_that_needs_nothing_else(drawn: Timeline) -> None:
    html = page(report(course()), drawn)
    reader = _Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.refers == []
    assert "<script" not in html
    assert not re.search(r"url\((?!#)|@import|https?://", html)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_the_picture_alone_brings_its_style_and_needs_nothing_else(drawn: Timeline) -> None:
    text = picture(drawn)
    svg = ElementTree.fromstring(text)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"url\((?!#)|@import|href", text)


def test_the_page_shows_the_numbers_and_every_decision_in_words(drawn: Timeline) -> None:
    html = page(report(course()), drawn)
    assert "✓ all as it should be" in html
    assert "to move 4 pods off nebius" in html
    assert "Breaker of nebius is Open." in html
    assert "7 pods moved from crusoe to aws." in html
    assert "Until 51.8 s." in html


def test_what_went_wrong_is_said_at_the_top() -> None:
    seen = course()
    seen.evict(seen.pods[0], 55.0)
    html = page(report(seen), timeline(seen))
    assert "✗ not all as it should be" in html
    assert "<li>1 went to and fro</li>" in html


def test_words_from_elsewhere_can_not_become_markup() -> None:
    seen = course()
    seen.tell(30.0, "PodsOverflow", "<b>&</b>", "Admission")
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in page(report(seen), timeline(seen))


def test_a_story_that_ended_at_once_is_drawn_too() -> None:
    seen = Course()
    assert "not all as it should be" in page(report(seen), timeline(seen))


def test_marks_that_would_overlap_go_into_rows_below() -> None:
    assert placed([0.0, 5.0, 20.0, 22.0, 24.0], 10.0) == [0, 1, 0, 1, 2]


def test_there_are_about_a_dozen_ticks() -> None:
    assert [ticks_every(seconds) for seconds in (9, 60, 100, 600, 7200)] == [1, 5, 10, 60, 120]
