"""PodDisruptionBudgets, as the API server sends them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from computepool.observe.disruption_budgets import DisruptionBudget, disruption_budget
from tests.builders import pod


def read(spec: dict[str, Any] | None = None, **status: Any) -> DisruptionBudget:
    written = {"metadata": {"name": "web", "namespace": "default"}, "spec": spec or {}, "status": status}
    return disruption_budget(json.dumps(written).encode())


@pytest.mark.parametrize(
    ("spec", "labels", "covered"),
    [
        ({}, {}, False),
        ({"selector": None}, {"app": "web"}, False),
        ({"selector": {}}, {}, True),
        ({"selector": {"matchLabels": {"app": "web"}}}, {"app": "web"}, True),
        ({"selector": {"matchLabels": {"app": "web"}}}, {"app": "api"}, False),
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, {"app": "api"}, True),
    ],
)
def test_a_budget_covers_the_pods_of_its_selector(spec: dict[str, Any], labels: dict[str, str], covered: bool) -> None:
    budget = read(spec)
    assert budget.covers(pod("p", labels=labels)) is covered
    assert not budget.covers(pod("p", labels=labels, namespace="elsewhere"))


def test_a_budget_has_what_its_status_says() -> None:
    budget = read({"unhealthyPodEvictionPolicy": "AlwaysAllow"}, disruptionsAllowed=2, desiredHealthy=3)
    assert (budget.allowed, budget.desired, budget.always_unready) == (2, 3, True)
    assert str(budget) == "default/web"


def test_a_budget_without_a_status_allows_nothing() -> None:
    budget = read({"unhealthyPodEvictionPolicy": "IfHealthyBudget"}, disruptionsAllowed=-1)
    assert (budget.allowed, budget.desired, budget.always_unready) == (0, 0, False)


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"selector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}}, {}),
        ({"selector": []}, {}),
        ({}, {"desiredHealthy": "many"}),
    ],
)
def test_a_budget_that_can_not_be_read_is_an_error(spec: dict[str, Any], status: dict[str, Any]) -> None:
    with pytest.raises((msgspec.ValidationError, ValueError)):
        read(spec, **status)
