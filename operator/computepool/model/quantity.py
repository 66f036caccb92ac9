"""Kubernetes quantities as integers of thousandths, so that sums and comparisons are exact."""

import re
from functools import lru_cache
from typing import Final

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
"""Suffixes as exponents of ten."""
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
"""Suffixes as exponents of two."""
MILLI = 1000
_MILLI_DIGITS: Final = 3
MAX_AMOUNT: Final = (2**63 - 1) * MILLI
"""The largest amount, in thousandths. Source: maxAllowed in apimachinery's pkg/api/resource."""
_DIGITS: Final = 100
"""Digits and exponents beyond this can't change a capped result, except that a remainder is rounded up."""
_HUGE: Final = 10**9
_FORM = re.compile(r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?)([0-9]+)|([a-zA-Z]*))")


@lru_cache(maxsize=65536)
def parse(text: str) -> int:
    """Return a quantity such as `8`, `500m`, `1.5Gi` or `1e3` in thousandths, rounded up as Kubernetes does.

    Amounts beyond MAX_AMOUNT, in either direction, are capped: Kubernetes accepts `1e400`, and any user may write it.
    The time does not grow with the value. Raises ValueError for text that is no quantity.
    """
    form = _FORM.fullmatch(text)
    suffix = "" if form is None else form[7] or ""
    if form is None or (suffix not in _DECIMAL and suffix not in _BINARY):
        raise ValueError(f"{text[:_DIGITS]!r} is no Kubernetes quantity")
    fraction = form[3] or form[4] or ""
    digits = ((form[2] or "") + fraction).lstrip("0")
    exponent = _exponent(form[5], form[6]) + _DECIMAL.get(suffix, 0) + _MILLI_DIGITS - len(fraction)
    if len(digits) > _DIGITS:
        exponent += len(digits) - _DIGITS
        digits = digits[: _DIGITS - 1] + ("1" if digits[_DIGITS - 1 :].strip("0") else "0")
    return _scaled(int(digits or "0"), exponent, 2 ** _BINARY.get(suffix, 0), negative=form[1] == "-")


def whole(milli: int) -> int:
    """Return thousandths as whole units, rounded up, as readers of accelerator counts expect."""
    return -(-milli // MILLI)


def _exponent(sign: str | None, digits: str | None) -> int:
    """Return an exponent of ten as written, capped at _HUGE: no object has room for as many digits."""
    if not digits:
        return 0
    significant = digits.lstrip("0")
    value = int(significant or "0") if len(significant) < len(str(_HUGE)) else _HUGE
    return -value if sign == "-" else value


def _scaled(number: int, exponent: int, factor: int, *, negative: bool) -> int:
    """Return number * factor * 10**exponent, rounded up and capped."""
    number *= -factor if negative else factor
    if not number:
        return 0
    if exponent >= 0:
        number *= 10 ** min(exponent, _DIGITS)
    else:
        # A longer divisor gives the same result: nothing is left of the number but its sign.
        number = -(-number // 10 ** min(-exponent, 2 * _DIGITS))
    return max(-MAX_AMOUNT, min(number, MAX_AMOUNT))
