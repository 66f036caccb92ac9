"""Joins the outcomes of single writes."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T", bound=tuple[tuple[Any, ...], ...])


def joined(kind: type[T], outcomes: Iterable[T]) -> T:
    """Return one outcome: each field has the items of that field of all `outcomes`, in their order.

    `kind` is a NamedTuple whose fields are tuples, empty by default.
    """
    return kind(*(tuple(chain.from_iterable(field)) for field in zip(*outcomes, strict=True)))
