"""Kubernetes quantities."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.quantity import MAX_AMOUNT, MILLI, parse, whole


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
    "text", ["", "x", "Gi", "1.2.3", "8GB", "1 Gi", "1mi", "NaN", "Infinity", "--1", "1e", "1Ee3", "1e5Gi", "\u0663"]
)
def test_what_is_no_quantity_is_refused_with_its_own_words(text: str) -> None:
    with pytest.raises(ValueError, match="is no Kubernetes quantity"):
        parse(text)


def test_part_of_a_device_counts_as_a_whole_one() -> None:
    assert [whole(amount) for amount in (0, 1, 999, 1000, 1001)] == [0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    "text",
    ["1e400", "1E19", "1e2147483647", "1e99999999999999999999", "9223372036854775808", "9" * 5_000, "16Ei", "9.3E"],
)
def test_an_amount_beyond_the_largest_of_kubernetes_is_capped(text: str) -> None:
    assert parse(text) == MAX_AMOUNT == (2**63 - 1) * MILLI
    assert parse(f"-{text}") == -MAX_AMOUNT


@pytest.mark.parametrize("text", ["1e-400", "0.0000000000001", "1e-99999999999999999999", f"0.{'0' * 5_000}1"])
def test_the_smallest_amount_is_rounded_up_and_a_negative_amount_towards_zero(text: str) -> None:
    assert parse(text) == 1
    assert parse(f"-{text}") == 0


def test_no_digit_is_lost_however_long_the_text_is() -> None:
    assert parse(f"1.{'0' * 5_000}1") == 1001
    assert parse("1" * 5_000 + "e-4990") == 1_111_111_111_112
    assert parse("0e99999999999999999999") == 0
    assert parse("3e000000000000000000001") == 30_000


@given(st.integers(0, 10**12), st.text("0123456789", max_size=12), st.integers(-15, 15))
def test_a_decimal_quantity_is_its_value_in_thousandths_rounded_up(before: int, after: str, exponent: int) -> None:
    exact = Fraction(f"{before}.{after or 0}") * Fraction(10) ** exponent * MILLI
    assert parse(f"{before}.{after}e{exponent}") == min(ceil(exact), MAX_AMOUNT)


@given(st.one_of(st.text(), st.from_regex(r"[+-]?[0-9.]{0,20}([eE][+-]?[0-9]{0,20}|[a-zA-Z]{0,3})", fullmatch=True)))
def test_any_text_is_either_an_amount_within_the_limits_or_no_quantity(text: str) -> None:
    try:
        amount = parse(text)
    except ValueError:
        return
    assert -MAX_AMOUNT <= amount <= MAX_AMOUNT
