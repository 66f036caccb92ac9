"""Queries over a range of time: what is sent, and what is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.errors import BadQueryError, GarbledError, SourceError
from computepool.prometheus.ranges import SeriesOverTime, read_range
from computepool.prometheus.source import Source
from tests.fakes.prometheus import FakePrometheus, vector


def matrix(*values: Sequence[tuple[float, str]], **more: object) -> bytes:
    result = [{"metric": {"pool": "p"}, "values": list(points)} for points in values]
    return msgspec.json.encode({"status": "success", "data": {"resultType": "matrix", "result": result}, **more})


def test_a_range_is_asked_for_by_its_times_and_its_step() -> None:
    async def run() -> None:
        async with FakePrometheus(body=matrix([(60.0, "1"), (120.0, "2.5")])) as server:
            source = Source.model_validate({"url": server.url, "queryParameters": {"dedup": "true", "start": "0"}})
            async with PrometheusClient(source) as client:
                found = await client.query_range("up", 60.0, 120.0, 60.0)
        assert found == (SeriesOverTime({"pool": "p"}, ((60.0, 1.0), (120.0, 2.5))),)
        (request,) = server.requests
        assert request.path == "/api/v1/query_range"
        form = {"query": "up", "start": "60.000", "end": "120.000", "step": "60", "dedup": "true", "timeout": "10s"}
        assert request.form == form

    asyncio.run(run())


def test_what_is_no_finite_number_is_no_point() -> None:
    (found,) = read_range(matrix([(3.0, "3"), (1.0, "NaN"), (2.0, "+Inf"), (0.0, "0")]))
    assert found.points == ((0.0, 0.0), (3.0, 3.0))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (vector(({}, "1")), BadQueryError),
        (b"<html>", GarbledError),
        (matrix([(1.0, "much")]), GarbledError),
        (matrix([(1.0, "1")], warnings=["a store is down"]), GarbledError),
        (matrix([(float(at), "1") for at in range(11_001)]), GarbledError),
        (b'{"status":"error","error":"too many points"}', GarbledError),
    ],
    ids=["a vector", "no JSON", "no number", "partial", "endless", "an error"],
)
def test_an_answer_of_another_kind_is_an_error(body: bytes, error: type[SourceError]) -> None:
    with pytest.raises(error):
        tuple(read_range(body))
