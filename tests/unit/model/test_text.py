"""Times and texts as the API server takes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

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


@pytest.mark.parametrize(("text", "shown"), [("", ""), ("sixsix", "sixsix"), ("sevense", "sev…"), ("äöüä", "ä…")])
def test_a_text_is_cut_to_bytes_between_two_characters(text: str, shown: str) -> None:
    assert cut_bytes(text, 6) == shown
