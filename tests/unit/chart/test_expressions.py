"""The chart's alerts and dashboard ask for metrics and labels that the operator declares.

tests/e2e/test_alerts_and_dashboard.py asks a real Prometheus that scrapes a real operator.
"""

from __future__ import annotations

import re

import pytest

from computepool.report.metrics import Metrics
from tests.unit.chart.expressions import alerts, expressions, metric, panels, selectors

LABELS = Metrics().labels


@pytest.mark.parametrize("query", expressions())
def test_each_query_asks_for_metrics_and_labels_that_exist(query: str) -> None:
    found = selectors(query)
    assert found
    for selector, grouped in found:
        assert metric(selector) in LABELS
        asked = grouped | {matcher.name for matcher in selector.matchers.matchers}
        assert asked - {"le"} <= set(LABELS[metric(selector)])


def test_every_alert_says_what_is_so_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert set(rule["annotations"]) == {"summary", "description", "action"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        text = " ".join(rule["annotations"].values())
        own = [found for found in selectors(rule["expr"]) if metric(found[0]) != "computepool_drill"]
        (labels,) = {grouped for _, grouped in own}
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, rule["alert"]


def test_alerts_do_not_start_anew_with_each_leader() -> None:
    # The labels of a replica, such as `pod` and `instance`, must not be among the labels of an alert.
    for rule in alerts():
        assert rule["expr"].startswith(("sum", "max by", "min by")), rule["alert"]


def test_a_drain_silences_only_what_is_said_of_the_drained_provider() -> None:
    silenced = {
        rule["alert"]: labels
        for rule in alerts()
        for selector, labels in selectors(rule["expr"])
        if metric(selector) == "computepool_provider_drained"
    }
    assert silenced.keys() == {"ComputePoolProviderFailed"}
    assert all("provider" in labels for labels in silenced.values())


def test_a_drill_silences_what_it_brings_about_in_its_pool_and_nothing_about_the_operator() -> None:
    silenced = {rule["alert"] for rule in alerts() if "computepool_drill" in rule["expr"]}
    assert silenced == {
        "ComputePoolPodsStuck",
        "ComputePoolPodsPending",
        "ComputePoolBudgetExhausted",
        "ComputePoolMoveEndedElsewhere",
        "ComputePoolDegraded",
    }
    for rule in alerts():
        if rule["alert"] in silenced:
            # What counts the last ten minutes is quiet for as long after a drill.
            drill = "max_over_time(computepool_drill[10m])" if "[10m]" in rule["expr"] else "computepool_drill"
            assert rule["expr"].rstrip().endswith(f"unless on (pool) max by (pool) ({drill}) == 1")


def test_the_dashboard_shows_every_metric() -> None:
    shown = {metric(selector) for query in expressions() for selector, _ in selectors(query)}
    assert shown == set(LABELS)


def test_panels_do_not_overlap() -> None:
    cells = [
        (column, row)
        for at in (panel["gridPos"] for panel in panels())
        for column in range(at["x"], at["x"] + at["w"])
        for row in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24
