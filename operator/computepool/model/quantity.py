"""Kubernetes quantities as integers of thousandths, so that sums and comparisons are exact."""

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_SUFFIX = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
MILLI = 1000
_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)([a-zA-Z]*)")


@lru_cache(maxsize=65536)
def parse(text: str) -> int:
    """Return a quantity such as `8`, `500m`, `1.5Gi` or `1e3` in thousandths, rounded up as Kubernetes does.

    Raises ValueError for any other text.
    """
    form = _FORM.fullmatch(text)
    if form is None or form[2] not in _SUFFIX:
        raise ValueError(f"{text!r} is no Kubernetes quantity")
    return int((Decimal(form[1]) * _SUFFIX[form[2]] * MILLI).to_integral_value(ROUND_CEILING))


def whole(milli: int) -> int:
    """Return thousandths as whole units, rounded up, as readers of accelerator counts expect."""
    return -(-milli // MILLI)
