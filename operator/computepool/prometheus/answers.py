"""The answer to a query, read strictly: what is not a finite number is no sample."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Final, TypeVar

import msgspec

from computepool.prometheus.errors import BadQueryError, GarbledError

Labels = Mapping[str, str]
T = TypeVar("T")


class Series(msgspec.Struct, frozen=True):
    """One series of a vector."""

    labels: Labels
    value: float | None
    """None: NaN or infinite, which is no number to compare with."""


class _Sample(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    value: tuple[float, str] | None = None
    """Time of the evaluation, and the number as text. A sample of a native histogram has none."""


class _Data(msgspec.Struct, frozen=True):
    kind: str = msgspec.field(name="resultType", default="")
    result: list[msgspec.Raw] = []


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Data = _Data()
    error: str = ""
    warnings: list[Any] | None = None
    is_partial: bool = msgspec.field(name="isPartial", default=False)
    """VictoriaMetrics: some of its storage did not answer."""


_ABOUT_THE_QUERY: Final = ("PromQL info: ", "PromQL warning: ")
"""How Prometheus begins its remarks about a query and its samples (`util/annotations` in its source). Such an answer is
whole. Prometheus 2 puts the remarks of both kinds among the warnings, Prometheus 3 and Thanos only the second kind."""
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_SAMPLE: Final = msgspec.json.Decoder(_Sample)


def read_answer(body: bytes) -> Iterator[Series]:
    """Read the body of a successful answer, series by series. Raises BadQueryError or GarbledError."""
    for sample in read_result(body, "vector", _SAMPLE):
        yield Series(sample.metric, None if sample.value is None else number(sample.value[1]))


def read_result(body: bytes, kind: str, decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    """Read the result of a complete answer of that kind, item by item. Raises BadQueryError or GarbledError.

    To decode 40,000 series at once would take 50 ms, in which nothing else could run.
    """
    try:
        answer = _ANSWER.decode(body)
        if answer.status != "success":
            raise GarbledError(f"the server answers {answer.status}: {answer.error}")
        warnings = [text for text in map(str, answer.warnings or ()) if not text.startswith(_ABOUT_THE_QUERY)]
        if warnings or answer.is_partial:
            # Thanos answers so when one of its stores is down.
            said = "; ".join(warnings or ["isPartial"])
            raise GarbledError(f"the answer may be partial: {said}")
        if answer.data.kind != kind:
            raise BadQueryError(
                f"the query returns a {answer.data.kind or 'nothing'}, not a {kind}: it must give one value a series"
            )
        yield from map(decoder.decode, answer.data.result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GarbledError(f"this is not an answer of Prometheus: {error}") from error


def number(text: str) -> float | None:
    """Read a number of Prometheus; None if it is NaN or infinite. Raises GarbledError."""
    try:
        value = float(text)
    except ValueError as error:
        raise GarbledError(f"this is not a number of Prometheus: {text}") from error
    return value if isfinite(value) else None
