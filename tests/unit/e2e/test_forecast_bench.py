"""The bench of the forecast on all recorded demand: the documents say what it finds, and it says what it can't know."""

from __future__ import annotations

import pytest

from e2e.bench import forecast
from e2e.bench.report import Result
from e2e.bench.rounds import Scale
from e2e.cluster import REPOSITORY

GPU_CLUSTERS = ("vc6YE", "vcTJs", "vcpDC")


@pytest.fixture(scope="module")
def found() -> Result:
    return forecast.run(Scale())


def test_no_change_has_the_smallest_error_on_every_trace_as_the_documents_say(found: Result) -> None:
    for trace in found.raw.values():
        for errors in trace["errors"].values():
            assert min(errors, key=errors.get) == forecast.SAME
    rows = [row for row in found.rows if "mean error" in row.what]
    assert len(rows) == 5 * len(forecast.AHEAD)
    assert all(row.detail.endswith("no change wins") for row in rows)


def test_the_documents_have_the_numbers_of_the_bench(found: Result) -> None:
    text = " ".join((REPOSITORY / "docs/forecast.md").read_text().split())
    alarms = [found.raw[name]["alarms"]["forecast"] for name in GPU_CLUSTERS]
    one, two, three = ((each["foreseen"], each["overloads"]) for each in alarms)
    assert three[0] == 0
    assert f"{one[0]} of {one[1]} on one cluster, {two[0]} of {two[1]} on another, none of {three[1]}" in text
    false = sorted(each["false_a_day"] for each in alarms)
    assert f"with {false[0]:.1f} to {false[-1]:.1f} false alarms a day" in text


def test_the_range_holds_about_four_of_five_forecasts_on_clusters_of_gpus(found: Result) -> None:
    for name in GPU_CLUSTERS:
        assert 75 <= found.raw[name]["within_range"] <= 90


def test_an_hour_of_requests_has_no_yesterday_and_the_table_says_so(found: Result) -> None:
    rows = [row for row in found.rows if row.what.startswith("azure") and "range" not in row.detail]
    assert rows
    assert all("same time yesterday no data, last peak of that hour no data" in row.detail for row in rows)


def test_each_row_about_alarms_says_which_way_is_best(found: Result) -> None:
    best = {row.what.partition(":")[0]: row.detail for row in found.rows if "lead time" in row.what}
    assert best["vc6YE"].endswith("forecast foresees most")
    assert best["vcTJs"].endswith("same time yesterday foresees most")
    assert best["vcpDC"].endswith("last peak of that hour foresees most")


def test_without_a_yesterday_only_the_forecast_gives_alarms(found: Result) -> None:
    assert set(found.raw["azure code"]["alarms"]) == {forecast.FORECAST}
