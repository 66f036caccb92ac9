"""The answer to a query, read strictly: what is not a finite number is no sample."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

import msgspec

from computepool.prometheus.errors import BadQueryError, GarbledError

Labels = Mapping[str, str]


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
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Answer(msgspec.Struct, frozen=True):
    status: str
    data: _Data = _Data()
    error: str = ""
    warnings: list[Any] | None = None
    is_partial: bool = msgspec.field(name="isPartial", default=False)
    """VictoriaMetrics: some of its storage did not answer."""


_ANSWER: Final = msgspec.json.Decoder(_Answer)
_VECTOR: Final = msgspec.json.Decoder(list[_Sample])


def read_answer(body: bytes) -> tuple[Series, ...]:
    """Read the body of a successful answer. Raises BadQueryError or GarbledError."""
    try:
        answer = _ANSWER.decode(body)
        if answer.status != "success":
            raise GarbledError(f"the server answers {answer.status!r}: {answer.error}")
        if answer.warnings or answer.is_partial:
            # Thanos answers so when one of its stores is down.
            said = "; ".join(map(str, answer.warnings or ["isPartial"]))
            raise GarbledError(f"the answer may be partial: {said}")
        if answer.data.kind != "vector":
            raise BadQueryError(
                f"the query returns a {answer.data.kind or 'nothing'}, not a vector: it must give one value a series"
            )
        samples = _VECTOR.decode(answer.data.result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GarbledError(f"this is not an answer of Prometheus: {error}") from error
    return tuple(Series(sample.metric, _number(sample)) for sample in samples)


def _number(sample: _Sample) -> float | None:
    if sample.value is None:
        return None
    try:
        number = float(sample.value[1])
    except ValueError as error:
        raise GarbledError(f"this is not a number of Prometheus: {sample.value[1][:40]!r}") from error
    return number if isfinite(number) else None
