"""The answer to a query over a range of time, read as strictly as that to a query of one moment."""

from collections.abc import Iterator
from typing import Final

import msgspec

from computepool.prometheus.answers import Labels, number, read_result
from computepool.prometheus.errors import GarbledError

MAX_POINTS: Final = 11_000
"""Points of a series that Prometheus answers with at most."""


class SeriesOverTime(msgspec.Struct, frozen=True):
    """One series of a matrix."""

    labels: Labels
    points: tuple[tuple[float, float], ...]
    """Times in seconds since the epoch, by the clock of the server, and finite numbers, oldest first."""


class _Range(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []


_RANGE: Final = msgspec.json.Decoder(_Range)


def read_range(body: bytes) -> Iterator[SeriesOverTime]:
    """Read the body of a successful answer, series by series. Raises BadQueryError or GarbledError."""
    for found in read_result(body, "matrix", _RANGE):
        if len(found.values) > MAX_POINTS:
            raise GarbledError(f"a series has more than {MAX_POINTS} points")
        yield SeriesOverTime(found.metric, _points(found))


def _points(one: _Range) -> tuple[tuple[float, float], ...]:
    numbers = ((at, number(text)) for at, text in one.values)
    return tuple(sorted((at, value) for at, value in numbers if value is not None))
