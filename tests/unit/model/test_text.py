"""Times and texts as the API server takes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.text import cut, cut_bytes, rfc3339

AT = datetime(2026, 11, 23, 5, 0, 1, 234567, UTC)


@pytest.mark.parametrize("time", [AT, AT.timestamp()])
def test_a_time_is_cut_to_its_precision_and_never_rounded_up(time: datetime | float) -> None:
    assert rfc3339(time) == "2026-11-23T05:00:01Z"
    assert rfc3339(time, "milliseconds") == "2026-11-23T05:00:01.234Z"
    assert rfc3339(time, "microseconds") == "2026-11-23T05:00:01.234567Z"


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("four", "four"), ("fives", "fiv…"), ("äöüäö", "äöü…")])
def test_a_text_that_is_too_long_ends_in_an_ellipsis(text: str, shown: str) -> None:
    assert cut(text, 4) == shown


@pytest.mark.parametrize(
    ("text", "characters", "shown"),
    [
        ("It is so. It is not so.", 20, "It is so. …"),
        ("Is it so? It is not so.", 20, "Is it so? …"),
        ("nodes: n1, n2, n3 and 9 more", 20, "nodes: n1, n2, …"),
        ("A first sentence that is long", 20, "A first sentence …"),
        ("Yes. A second sentence that is long", 25, "Yes. A second sentence …"),
        ("example.com/a-name-without-pause", 20, "example.com/a-name-…"),
    ],
)
def test_a_text_is_cut_where_a_reader_pauses(text: str, characters: int, shown: str) -> None:
    assert cut(text, characters) == shown
    assert cut_bytes(text, characters + 2) == shown


@given(st.text(), st.integers(4, 60))
def test_a_text_that_was_cut_is_short_enough_and_keeps_at_least_half(text: str, size: int) -> None:
    shown, written = cut(text, size), cut_bytes(text, size)
    assert len(shown) <= size
    assert len(written.encode()) <= size
    assert shown == text or (len(shown) > size // 2 and text.startswith(shown[:-1]) and shown[-1] == "…")
    assert written == text or (text.startswith(written[:-1]) and written[-1] == "…")


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("sixsix", "sixsix"), ("sevense", "sev…"), ("äöüä", "ä…")])
def test_a_text_is_cut_to_bytes_between_two_characters(text: str, shown: str) -> None:
    assert cut_bytes(text, 6) == shown
