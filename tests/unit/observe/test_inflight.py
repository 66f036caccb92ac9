"""Offers under way: from before the call until the pod is seen as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.cluster import Offer
from computepool.observe.in_flight_offers import InFlight
from tests.builders import NOW


def test_an_offer_is_forgotten_once_the_pod_is_seen_at_the_version_that_was_written_or_later() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    assert not flights.seen("u", 99)
    assert not flights.written("u", 100, seen=99)
    assert not flights.seen("u", 99)
    assert "u" in flights
    assert flights.seen("u", 100)
    assert "u" not in flights
    assert not flights.seen("u", 101)


@pytest.mark.parametrize(("seen", "landed"), [(99, False), (100, True), (101, True)])
def test_an_offer_may_have_been_seen_before_the_answer_came(seen: int, landed: bool) -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    assert flights.written("u", 100, seen=seen) is landed
    assert ("u" in flights) is not landed


def test_an_offer_that_failed_or_whose_pod_is_gone_is_forgotten() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    flights.drop("u")
    flights.drop("u")
    assert not flights.written("u", 100, seen=0)
    assert flights.offers() == {}


def test_a_write_that_begins_anew_is_not_ended_by_the_version_of_the_one_before() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    flights.written("u", 100, seen=0)
    flights.start("u", Offer("crusoe", NOW + 1))
    assert not flights.seen("u", 100)
    assert flights.offers() == {"u": Offer("crusoe", NOW + 1)}


def test_offers_handed_out_stay_as_they_were() -> None:
    flights = InFlight()
    flights.start("u", Offer("nebius", NOW))
    given_out = flights.offers()
    flights.drop("u")
    assert given_out == {"u": Offer("nebius", NOW)}


@given(st.lists(st.sampled_from(("start", "written", "seen", "drop")), max_size=12), st.data())
def test_an_offer_is_under_way_exactly_until_it_is_seen_or_dropped(steps: list[str], data: st.DataObject) -> None:
    flights, under_way, awaited, newest = InFlight(), False, None, 0
    for step in steps:
        version = data.draw(st.integers(1, 5))
        match step:
            case "start":
                flights.start("u", Offer("nebius", NOW))
                under_way, awaited = True, None
            case "written":
                flights.written("u", version, newest)
                awaited = version if under_way else None
            case "seen":
                newest = version
                flights.seen("u", newest)
            case _:
                flights.drop("u")
                under_way = False
        if under_way and awaited is not None and newest >= awaited and step != "start":
            under_way, awaited = False, None
        assert ("u" in flights) is under_way
