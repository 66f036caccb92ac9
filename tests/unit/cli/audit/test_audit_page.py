"""An audit as a page: read by parsers of HTML and XML, as a browser reads it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.audit.auditing import Audit
from computepool.audit.parts import Part, PartKind
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import SupplyRow
from computepool.cli.audit.document import PAPER, TERMINAL
from computepool.cli.audit.page import page
from computepool.cli.audit.pictures import figures, flow, supply_bars
from computepool.cli.audit.sections import document
from computepool.cli.audit.style import STYLE
from computepool.model.quantity import MILLI
from computepool.model.text import printable
from tests.unit.cli.audit.audited_clusters import EVIL, audited, hostile, huge, node, pods, two_providers

BAR: Final = re.compile(r'<svg class="bar".*?</svg>')
VOID: Final = {"meta", "link", "img", "br", "hr", "input", "rect", "path", "circle"}
MADE: Final = {
    "two providers": two_providers,
    "hostile names": hostile,
    "huge": huge,
    "one provider": lambda: [node("a1"), *pods("web", "a1")],
    "nothing": lambda: [node("a1", gpus=0)],
}


class Reader(HTMLParser):
    """Reads a page: its elements with their attributes and texts. It refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        """The innermost element, and the text in it."""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1], data.strip()))

    def of(self, tag: str) -> list[str]:
        return [text for innermost, text in self.texts if innermost == tag]


@pytest.fixture(params=list(MADE.values()), ids=list(MADE))
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Audit:
    return audited(tmp_path, request.param())


def test_it_is_one_file_of_matching_tags_that_loads_and_runs_nothing(found: Audit) -> None:
    text = page(found)
    assert text.isascii()
    read = Reader(text)
    assert {"script", "link", "img", "iframe", "object", "style"} & {tag for tag, _ in read.elements} == {"style"}
    for _, attributes in read.elements:
        assert not {"src", "href", "style", "srcset", "data"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text


def test_each_picture_is_xml_that_tells_its_contents(found: Audit) -> None:
    flows = [drawn for loss in found.losses if (drawn := flow(loss))]
    bars = BAR.findall(supply_bars(found.supply))
    assert bool(bars) == bool(found.supply)
    assert len(flows) == sum(bool(loss.held) for loss in found.losses)
    for picture in (*flows, *bars):
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img"
        assert [child.tag for child in root][:2] == ["title", "desc"]
        assert all(child.text for child in list(root)[:2])


def test_each_heading_of_a_table_says_of_what(found: Audit) -> None:
    read = Reader(page(found))
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in read.elements if tag == "th")
    boxes = [attributes for _, attributes in read.elements if attributes.get("class") == "box"]
    assert len(boxes) == sum(tag == "table" for tag, _ in read.elements)
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_it_has_the_order_of_the_terminal_with_the_pictures_first(found: Audit) -> None:
    headings = Reader(page(found)).of("h2")
    terminal = [printable(section.title) for section in document(found, TERMINAL).sections]
    assert [title for title in headings if title in terminal] == terminal
    pictures = ["Where the accelerators are"] * bool(found.supply) + ["What moves where"] * bool(found.losses)
    assert headings[: 1 + len(pictures)] == ["Checks", *pictures]
    assert headings[-1] == "How losses are judged"


def test_it_says_what_a_review_asks_for(tmp_path: Path) -> None:
    found = audited(tmp_path, two_providers())
    read = Reader(page(found))
    assert read.of("title")[0] == f"Compute dependency audit of {found.cluster.source}"
    everything = " ".join(text for _, text in read.texts)
    assert re.search(r"Read on \d{4}-\d\d-\d\d at \d\d:\d\d UTC from \S+/cluster\.json\.", everything)
    assert "If aws fails now: 6 of 14 accelerators have somewhere to go; 8 do not, of 2 workloads." in read.of("p")
    assert read.of("figcaption")[0] == ": 14 of 24 accelerators held, 8 stranded."
    assert "nebius: 6 now; stranded: 8 without a place" in read.of("desc")
    assert "24 accelerators: 14 used, 2 free, 8 bad" in read.of("desc")
    assert "8 accelerators: 2 used, 6 free, 0 bad" in read.of("desc")


def test_checks_are_told_apart_without_colours(tmp_path: Path) -> None:
    found = audited(tmp_path, two_providers())
    told = [text for text in Reader(page(found)).of("span") if text in ("passed", "FAILED", "✓", "✗")]
    expected = [("✓", "passed") if check.passed else ("✗", "FAILED") for check in found.checks]
    assert told == [text for pair in expected for text in pair]


def test_names_are_shown_and_never_understood(tmp_path: Path) -> None:
    text = page(audited(tmp_path, hostile()))
    assert "<script" not in text
    read = Reader(text)
    assert printable(EVIL) in read.of("td")
    assert any(printable(EVIL) in name for name in read.of("b"))


def test_a_large_cluster_has_a_page_of_bounded_size(tmp_path: Path) -> None:
    text = page(audited(tmp_path, huge()))
    assert len(text) < 120_000
    read = Reader(text)
    assert f"And {240 - PAPER.most_rows} more: see --output json." in read.of("p")
    assert "And 18 more providers: see the tables." in read.of("p")


parts = st.dictionaries(st.text(min_size=1, max_size=70), st.integers(1, 10**9), max_size=12)


@given(moves=parts, share=st.floats(0, 1), stranded=st.integers(0, 10**9))
def test_a_flow_shows_all_that_is_held_and_nothing_twice(moves: dict[str, int], share: float, stranded: int) -> None:
    made = {name: int(milli * share) for name, milli in moves.items() if int(milli * share)}
    drawn = flow(_loss(moves, made, stranded))
    if not moves and not stranded:
        assert drawn == ""
        return
    root = ElementTree.fromstring(drawn)
    words = [text.text or "" for text in root.findall("text") if text.get("class") is None]
    amounts = [float(text.split()[0]) for text in words]
    assert sum(amounts) == pytest.approx((sum(moves.values()) + stranded) / MILLI)
    assert sum(amount for amount, text in zip(amounts, words, strict=True) if "yet to make" in text) == pytest.approx(
        sum(made.values()) / MILLI
    )
    (held,) = (rect for rect in root.findall("rect") if rect.get("class") == "held")
    blocks = [float(rect.get("height", "0")) for rect in root.findall("rect") if rect.get("class") != "held"]
    assert sum(blocks) == pytest.approx(float(held.get("height", "0")), abs=0.1 * len(blocks) + 0.1)
    assert len(blocks) == len(words) <= 15
    assert float(root.get("height", "0")) < 800


def test_places_on_nodes_that_are_yet_to_make_are_told_apart() -> None:
    drawn = flow(_loss({"nebius": 5 * MILLI}, {"nebius": 2 * MILLI}, 0))
    assert "<desc>nebius: 3 now; nebius: 2 on nodes yet to make</desc>" in drawn


def test_a_loss_of_unused_nodes_is_told_in_words() -> None:
    text = figures([_loss({}, {}, 0)])
    assert "no pod holds any of its 8 accelerators." in text
    assert "<svg" not in text


rows = st.tuples(st.integers(1, 10**7), st.floats(0, 1), st.floats(0, 1))


@given(st.lists(rows, min_size=1, max_size=20))
def test_the_bars_are_in_proportion_and_stay_in_their_place(amounts: list[tuple[int, float, float]]) -> None:
    supply = [
        _row(f"p{index}", capacity, int(capacity * usable), int(int(capacity * usable) * free))
        for index, (capacity, usable, free) in enumerate(amounts)
    ]
    supply.sort(key=lambda row: -row.capacity)
    drawn = BAR.findall(supply_bars(supply))
    for row, picture in zip(supply, drawn, strict=False):
        rects = list(ElementTree.fromstring(picture).iter("rect"))
        widths = [float(rect.get("width", "").rstrip("%")) for rect in rects]
        assert sum(widths) == pytest.approx(100 * row.capacity / supply[0].capacity, abs=1)
        assert sum(widths) < 101


def test_accelerators_that_pods_hold_on_bad_nodes_are_told_as_bad_and_used(tmp_path: Path) -> None:
    nodes = [node("a1"), node("a2", ready=False)]
    text = page(audited(tmp_path, [*nodes, *pods("web", "a1", 4), *pods("web", "a2", 8), node("n1", "nebius")]))
    assert "16 accelerators: 4 used, 4 free, 8 bad (8 of them used)" in text
    assert "<b>12</b> of them used" in text
    assert "8 accelerators: 0 used, 8 free, 0 bad<" in text


@pytest.mark.parametrize("name", ["ink", "soft", "bad", "good"])
def test_words_have_the_contrast_that_wcag_asks_for(name: str) -> None:
    for colour in re.findall(rf"--{name}: #([0-9a-f]+)", STYLE):
        assert _contrast_to_white(colour) >= 4.5


def _contrast_to_white(colour: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


def _loss(moves: dict[str, int], made: dict[str, int], stranded: int) -> JudgedLoss:
    return JudgedLoss(
        parts=(Part(PartKind.PROVIDER, "aws", frozenset({"a1"})),),
        nodes=1,
        capacity=8 * MILLI,
        held=sum(moves.values()) + stranded,
        moves=moves,
        on_demand=made,
        awaits_deletion=0,
        stranded=stranded,
        workloads=(),
        short={},
        remedies=(),
    )


def _row(provider: str, capacity: int, allocatable: int, free: int) -> SupplyRow:
    return SupplyRow("nvidia.com/gpu", provider, "", "", "", "", "", 1, capacity, allocatable, allocatable - free, free)
