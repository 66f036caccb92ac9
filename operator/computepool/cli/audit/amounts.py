"""Amounts of money, as programs read them."""

from decimal import Decimal
from typing import Final

_CENT: Final = Decimal("0.01")


def exact(amount: Decimal) -> str:
    """Write an amount of money with all its digits, and at least two after the point."""
    plain = amount.normalize()
    exponent = plain.as_tuple().exponent
    return f"{plain.quantize(_CENT) if isinstance(exponent, int) and exponent > -2 else plain:f}"
