"""The annotation that names the providers that a pod was sent to, with the times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.cluster import Offer
from computepool.model.offers_annotation import parse_offers, render_offers, with_offer


def test_offers_are_written_with_milliseconds_and_read_back() -> None:
    offers = (Offer("nebius", 1_795_410_000.123), Offer("crusoe", 1_795_410_060.0))
    text = render_offers(offers)
    assert text == "nebius=2026-11-23T05:00:00.123Z,crusoe=2026-11-23T05:01:00.000Z"
    assert parse_offers(text) == offers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nebius",
        "nebius=",
        "nebius=yesterday",
        "=2026-11-23T05:00:00Z",
        " =2026-11-23T05:00:00Z",
        "nebius=2026-11-23T05:00:00",
        "nebius=0001-01-01T00:00:00+23:00",
        "nebius=9999-12-31T23:59:59-23:00",
        ",,,",
    ],
)
def test_what_can_not_be_read_as_an_offer_is_dropped(text: str) -> None:
    assert parse_offers(text) == ()


def test_what_can_be_read_is_kept_beside_what_can_not() -> None:
    assert parse_offers("nebius=?, crusoe = 2026-11-23T05:01:00Z") == (Offer("crusoe", 1_795_410_060.0),)


def test_an_offer_made_again_takes_the_place_of_the_earlier_one_and_comes_last() -> None:
    offers = (Offer("nebius", 1.0), Offer("crusoe", 2.0))
    assert with_offer(offers, Offer("nebius", 3.0)) == (Offer("crusoe", 2.0), Offer("nebius", 3.0))


STAMPS = st.datetimes(timezones=st.timezones()).map(lambda at: f"nebius={at.isoformat()}")


@given(st.text(max_size=60) | STAMPS | st.from_regex(r"[a-z]{1,5}=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"))
def test_whatever_somebody_writes_there_can_be_written_again(text: str) -> None:
    offers = parse_offers(text)
    assert [offer.provider for offer in parse_offers(render_offers(offers))] == [offer.provider for offer in offers]
