"""Kubernetes quantities."""

import pytest

from computepool.model.quantity import parse, whole


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("8", 8_000),
        ("0", 0),
        ("500m", 500),
        ("0.5", 500),
        (".5", 500),
        ("+3", 3_000),
        ("-1", -1_000),
        ("1.5Gi", 1_610_612_736_000),
        ("1Ki", 1_024_000),
        ("1k", 1_000_000),
        ("1M", 10**9),
        ("2E", 2 * 10**21),
        ("1Ei", 2**60 * 1000),
        ("1e3", 1_000_000),
        ("1E3", 1_000_000),
        ("12e-2", 120),
        ("100n", 1),
        ("1u", 1),
        ("1001u", 2),
    ],
)
def test_a_quantity_is_read_exactly_and_what_is_finer_than_a_thousandth_is_rounded_up(text: str, milli: int) -> None:
    assert parse(text) == milli


@pytest.mark.parametrize(
    "text", ["", "x", "Gi", "1.2.3", "8GB", "1 Gi", "1mi", "NaN", "Infinity", "1e999999999", "--1"]
)
def test_what_is_no_quantity_is_refused_with_its_own_words(text: str) -> None:
    with pytest.raises(ValueError, match="is no Kubernetes quantity"):
        parse(text)


def test_part_of_a_device_counts_as_a_whole_one() -> None:
    assert [whole(amount) for amount in (0, 1, 999, 1000, 1001)] == [0, 1, 1, 1, 2]
