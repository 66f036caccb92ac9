"""What a new leader reads back from the pool's status."""

from typing import Any

import pytest

from computepool.model.api import ComputePool
from computepool.model.state import PoolState, Saturation, recorded_state
from tests.builders import pool, provider

KEYED = provider("crusoe", tolerations=[{"key": "virtual", "operator": "Exists"}])
OTHER = provider("lambda", tolerations=[{"key": "other", "operator": "Exists"}])


def with_status(saturated: str | None = None, tolerations: list[dict[str, str]] | None = None) -> ComputePool:
    status: dict[str, Any] = {"admission": {"tolerations": tolerations or []}}
    if saturated is not None:
        status["conditions"] = [
            {
                "type": "Saturated",
                "status": saturated,
                "reason": "PodsOverflow",
                "lastTransitionTime": "2026-11-23T05:00:00Z",
            }
        ]
    return pool(provider("aws"), provider("nebius"), KEYED, OTHER, status=status)


@pytest.mark.parametrize(
    ("status", "saturated"), [("True", True), ("False", False), ("Unknown", None), (None, None)], ids=str
)
def test_the_verdict_on_the_primary_is_read_from_its_condition(status: str | None, saturated: bool | None) -> None:
    assert recorded_state(with_status(status)) == PoolState(Saturation(saturated))


@pytest.mark.parametrize(
    ("tolerations", "admitting"),
    [
        ([], ""),
        ([{"key": "computepool.io/provider", "value": "nebius", "effect": "NoSchedule"}], "nebius"),
        ([{"key": "virtual", "operator": "Exists"}], "crusoe"),
        ([{"key": "other", "operator": "Exists"}], "lambda"),
        ([{"key": "gone", "operator": "Exists"}], ""),
        ([{"key": "computepool.io/provider", "value": "gone", "effect": "NoSchedule"}], ""),
    ],
    ids=["closed", "by its default", "by its own", "by one like another's", "edited away", "removed"],
)
def test_the_provider_admitted_to_is_read_from_its_tolerations(
    tolerations: list[dict[str, str]], admitting: str
) -> None:
    assert recorded_state(with_status(tolerations=tolerations)).admitting == admitting


def test_a_pool_without_a_status_starts_from_nothing() -> None:
    assert recorded_state(pool()) == PoolState()
