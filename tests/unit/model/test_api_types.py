"""What the API types mean: defaults, helpers, times, leniency towards what the operator wrote itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from computepool.model.api import (
    AdmissionMode,
    ComputePool,
    Condition,
    ConditionStatus,
    Decision,
    InvalidPool,
    LabelSelector,
    Mode,
    Placement,
    PoolSpec,
    ProviderSpec,
    SelectorOperator,
    SelectorRequirement,
    TaintEffect,
    TolerationOperator,
    TolerationSpec,
)
from tests.manifests import strategies
from tests.manifests.schema import violations
from tools import crd

SPEC_SCHEMA = crd.schema()["properties"]["spec"]


def provider(name: str = "nebius", **fields: Any) -> ProviderSpec:
    return ProviderSpec(name=name, node_selector=LabelSelector(match_labels={"node-group": name}), **fields)


def manifest(**status: Any) -> dict[str, Any]:
    providers = [{"name": name, "nodeSelector": {"matchLabels": {"node-group": name}}} for name in ("aws", "nebius")]
    return {"metadata": {"name": "inference", "uid": "1"}, "spec": {"providers": providers}, "status": status}


def condition(message: str = "", at: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> Condition:
    return Condition(type="Ready", status=ConditionStatus.TRUE, reason="Kept", message=message, last_transition_time=at)


def test_a_pool_of_two_providers_has_the_documented_defaults() -> None:
    spec = ComputePool.from_object(manifest()).spec
    assert (spec.mode, spec.placement, spec.admission.mode) == (
        Mode.ENFORCE,
        Placement.ORDERED,
        AdmissionMode.WHEN_SATURATED,
    )
    assert spec.accelerator.resource_name == "nvidia.com/gpu"
    assert spec.workloads.pod_selector.empty
    assert spec.workloads.namespace_selector.empty
    assert (spec.saturation.pending_seconds, spec.saturation.sustain_seconds, spec.saturation.clear_seconds) == (
        5,
        30,
        120,
    )
    assert (spec.saturation.allocation.enter_percent, spec.saturation.allocation.exit_percent) == (95, 80)


def test_the_first_provider_is_the_primary_and_the_others_are_standbys() -> None:
    spec = ComputePool.from_object(manifest()).spec
    assert spec.primary.name == "aws"
    assert [one.name for one in spec.standbys] == ["nebius"]
    assert spec.provider("nebius") == spec.standbys[0]
    assert spec.provider("crusoe") is None


def test_a_standby_without_tolerations_has_the_default_one() -> None:
    (toleration,) = provider().effective_tolerations()
    assert toleration.to_object() == {
        "key": "computepool.io/provider",
        "operator": "Equal",
        "value": "nebius",
        "effect": "NoSchedule",
    }


def test_a_standbys_own_tolerations_replace_the_default_one() -> None:
    own = (TolerationSpec(key="virtual-kubelet.io/provider", operator=TolerationOperator.EXISTS),)
    assert provider(tolerations=own).effective_tolerations() == own


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 60),
        ({"capacity": {"type": "OnDemand"}}, 600),
        ({"provision_timeout_seconds": 7}, 7),
        ({"capacity": {"type": "OnDemand"}, "provision_timeout_seconds": 7}, 7),
    ],
)
def test_the_provision_timeout_depends_on_the_capacity_unless_it_is_given(fields: dict[str, Any], seconds: int) -> None:
    assert provider(**fields).provision_timeout() == seconds


def test_a_price_is_an_exact_decimal() -> None:
    assert provider(price_per_accelerator_hour="2.95").price() == Decimal("2.95")
    assert provider().price() is None


@pytest.mark.parametrize(
    ("mine", "theirs", "covered"),
    [
        ({"key": "a", "operator": "Exists"}, {"key": "a", "value": "x", "effect": "NoSchedule"}, True),
        ({"key": "a", "value": "x"}, {"key": "a", "value": "x", "effect": "NoSchedule"}, True),
        ({"key": "a", "value": "x", "effect": "NoSchedule"}, {"key": "a", "value": "x"}, False),
        ({"key": "a", "value": "x"}, {"key": "a", "operator": "Exists"}, False),
        ({"key": "a", "value": "x"}, {"key": "a", "value": "y"}, False),
        ({"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}, False),
        (
            {"key": "a", "operator": "Exists", "effect": "NoExecute"},
            {"key": "a", "value": "x", "effect": "NoSchedule"},
            False,
        ),
    ],
)
def test_one_toleration_covers_another_if_it_tolerates_every_taint_of_the_other(
    mine: dict[str, Any], theirs: dict[str, Any], covered: bool
) -> None:
    assert TolerationSpec(**mine).compiled().covers(TolerationSpec(**theirs).compiled()) is covered


def test_an_effect_left_out_is_left_out_of_the_object_too() -> None:
    assert "effect" not in TolerationSpec(key="a").to_object()
    assert TolerationSpec(key="a", effect=TaintEffect.NO_EXECUTE).to_object()["effect"] == "NoExecute"


def test_a_selectors_requirements_are_its_labels_by_key_and_then_its_expressions() -> None:
    exists = SelectorRequirement(key="a", operator=SelectorOperator.EXISTS)
    selector = LabelSelector(match_labels={"z": "1", "b": "2"}, match_expressions=(exists,))
    assert [(one.key, one.operator, one.values) for one in selector.compiled().requirements] == [
        ("b", "In", ("2",)),
        ("z", "In", ("1",)),
        ("a", "Exists", ()),
    ]


def test_objects_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(provider(), "name", "crusoe")  # noqa: B010 - written plainly, a type checker would refuse it


@pytest.mark.parametrize("seconds", ["5", True, 5.5])
def test_a_number_is_not_read_from_anything_else(seconds: object) -> None:
    bad = manifest()
    bad["spec"]["saturation"] = {"pendingSeconds": seconds}
    with pytest.raises(InvalidPool) as refusal:
        ComputePool.from_object(bad)
    assert refusal.value.path == "spec.saturation.pendingSeconds"


def test_a_time_is_written_in_utc_and_reads_back_equal() -> None:
    moment = datetime(2026, 11, 23, 6, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=1)))
    decision = Decision(time=moment, action="Burst", reason="PrimarySaturated")
    assert decision.to_object()["time"] == "2026-11-23T05:00:00.123Z"
    assert Decision.model_validate(decision.to_object()) == decision
    assert condition().to_object()["lastTransitionTime"] == "2026-11-23T00:00:00Z"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        condition(at=datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point


def test_a_message_that_is_too_long_is_cut() -> None:
    assert condition("x" * 5000).message == "x" * 1023 + "…"


def test_a_condition_is_found_by_its_type() -> None:
    status = ComputePool.from_object(manifest(conditions=[condition().to_object()])).status
    assert status.condition("Ready") == condition()
    assert status.condition("Saturated") is None


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+10:00"])
def test_a_time_that_utc_does_not_have_ends_nothing(at: str) -> None:
    told = {**condition().to_object(), "lastTransitionTime": at}
    assert ComputePool.from_object(manifest(conditions=[told])).status == ComputePool.from_object(manifest()).status


def test_a_status_that_cannot_be_read_counts_as_not_there() -> None:
    pool = ComputePool.from_object(manifest(conditions=[{"type": "Ready", "status": "Perhaps"}], primary="aws"))
    assert pool.status == ComputePool.from_object(manifest()).status


@pytest.mark.parametrize(
    ("obj", "path"),
    [({}, "metadata"), ({"metadata": {"name": "inference"}}, "spec"), ({"metadata": {}, "spec": {}}, "metadata.name")],
)
def test_an_object_without_its_main_parts_is_no_pool(obj: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidPool) as refusal:
        ComputePool.from_object(obj)
    assert refusal.value.path == path


@settings(max_examples=300)
@given(strategies.specs())
def test_whatever_spec_the_types_accept_is_written_as_the_schema_wants_it(spec: dict[str, Any]) -> None:
    try:
        accepted = PoolSpec.model_validate(spec)
    except ValidationError:
        return
    assert not violations(SPEC_SCHEMA, accepted.to_object())
    assert PoolSpec.model_validate(accepted.to_object()) == accepted
