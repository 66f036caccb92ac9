"""Amounts as programs read them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.audit.amounts import exact


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("100", "100.00"),
        ("1E+3", "1000.00"),
        ("4.1", "4.10"),
        ("0.000001", "0.000001"),
        ("2.50", "2.50"),
    ],
)
def test_money_has_all_its_digits_and_at_least_two(amount: str, text: str) -> None:
    assert exact(Decimal(amount)) == text


@given(st.decimals(min_value=0, max_value=10**9, places=9))
def test_money_is_exact(amount: Decimal) -> None:
    assert Decimal(exact(amount)) == amount
