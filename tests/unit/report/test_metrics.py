"""Prometheus metrics: the names that are promised, and no series of what is gone."""

from __future__ import annotations

import re
from importlib.metadata import version
from platform import python_version

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from computepool.decide.plan import BlockedMove
from computepool.model.reasons import Reason
from computepool.report.conditions import conditions_of
from computepool.report.metric_help import HELP
from computepool.report.metrics import CONTENT_TYPE, Metrics, MoveResult
from computepool.report.pass_report import Gaps
from tests.builders import node, pod, pool, provider
from tests.unit.report.passes import AT, FULL, NO_POLICY, RESIDENTS, report_on

PRICED = pool(provider("aws", price="12.29"), provider("nebius", price="2.95"), provider("crusoe"))

# Users' dashboards and alerts stand on these.
PROMISED = {
    "computepool_provider_accelerators": {"pool", "provider", "state"},
    "computepool_pending_pods": {"pool"},
    "computepool_bursts_total": {"pool", "provider", "reason"},
    "computepool_hold_offs": {"pool", "provider", "reason"},
    "computepool_decision_seconds": set(),
    "computepool_burst_latency_seconds": set(),
    "computepool_cost_dollars_per_hour": {"pool", "provider"},
    "computepool_condition": {"pool", "type", "status"},
    "computepool_stuck_pods": {"pool", "reason"},
    "computepool_frozen": {"pool"},
    "computepool_held_back": {"pool"},
    "computepool_move_outcomes_total": {"pool", "from", "to", "outcome"},
    "computepool_pass_failures_total": {"pool"},
    "computepool_invariant_breaches_total": {"pool", "invariant"},
    "computepool_leader": set(),
    "computepool_cache_age_seconds": {"resource"},
    "computepool_provider_drained": {"pool", "provider"},
    "computepool_build_info": {"version", "python"},
}


def samples(metrics: Metrics) -> list[Sample]:
    text = metrics.render().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The one sample of that name and exactly these labels; None where there is none."""
    found = [one.value for one in samples(metrics) if one.name == name and one.labels == labels]
    return found[0] if found else None


def used() -> Metrics:
    """Metrics after a pass and a burst, with everything in them."""
    metrics = Metrics()
    metrics.follow_age("pods", lambda: 1.5)
    seen = report_on(PRICED, pods=[*RESIDENTS, pod("away", 3, on="n1"), pod("new")])
    metrics.passed(seen, conditions_of(seen, (), AT))
    metrics.sent_to_standby("inference", "nebius", Reason.PRIMARY_SATURATED)
    metrics.refused.labels("inference").inc()
    metrics.pass_failures.labels("inference").inc()
    metrics.invariant_breached("inference", 5)
    for result in MoveResult:
        metrics.moved("inference", "nebius", "crusoe", result)
    return metrics


def test_every_metric_that_is_promised_is_there_with_its_labels() -> None:
    found: dict[str, set[str]] = {}
    for sample in samples(used()):
        name = sample.name
        for suffix in ("_bucket", "_count", "_sum"):
            name = name.removesuffix(suffix)
        found.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    assert {name: found.get(name) for name in PROMISED} == PROMISED


def test_the_texts_are_those_of_the_metrics_and_no_others() -> None:
    assert {f"computepool_{name}" for name in HELP} == Metrics().labels.keys()


def test_every_sample_has_the_labels_that_are_declared() -> None:
    metrics = used()
    for sample in samples(metrics):
        name = re.sub("_(bucket|count|sum)$", "", sample.name)
        declared = metrics.labels[sample.name if sample.name in metrics.labels else name]
        assert sample.labels.keys() - {"le"} == set(declared), sample.name


def test_no_series_tells_when_another_series_began() -> None:
    assert not [one for one in samples(used()) if one.name.endswith("_created")]


def test_the_version_is_told() -> None:
    (info,) = [one for one in samples(Metrics()) if one.name == "computepool_build_info"]
    assert info.value == 1
    assert info.labels == {"version": version("computepool"), "python": python_version()}


@pytest.mark.parametrize("drain", [True, False])
def test_a_drained_provider_is_told_apart_from_a_provider_that_has_failed(drain: bool) -> None:
    metrics = Metrics()
    metrics.passed(report_on(pool(provider("aws"), provider("nebius", drain=drain))))
    drained = [
        value(metrics, "computepool_provider_drained", pool="inference", provider=name) for name in ("aws", "nebius")
    ]
    assert drained == [0, int(drain)]


def test_a_drill_is_one_while_it_lasts_and_nought_before_and_after() -> None:
    metrics = Metrics()
    window = {"since": "2027-01-15T08:00:00Z", "until": "2027-01-15T08:10:00Z"}
    drilled = report_on(pool(provider("aws"), {**provider("nebius"), "drill": window}))
    metrics.passed(drilled)
    assert value(metrics, "computepool_drill", pool="inference", provider="nebius") == 1
    assert value(metrics, "computepool_provider_drained", pool="inference", provider="nebius") == 1
    assert value(metrics, "computepool_drill", pool="inference", provider="aws") == 0
    metrics.passed(report_on(pool(provider("aws"), provider("nebius"))))
    assert value(metrics, "computepool_drill", pool="inference", provider="nebius") == 0


def test_no_series_names_a_pod_or_a_node() -> None:
    text = used().render().decode()
    for name in ("web-1", "away", "old-1", "n1", "a1"):
        assert f'"{name}"' not in text


def test_a_pass_shows_what_it_saw() -> None:
    metrics = used()
    states = ("allocatable", "allocated", "free", "unhealthy")
    counts = [
        value(metrics, "computepool_provider_accelerators", pool="inference", provider="nebius", state=state)
        for state in states
    ]
    assert counts == [4, 3, 1, 0]
    assert value(metrics, "computepool_pending_pods", pool="inference") == 1
    assert value(metrics, "computepool_burst_pods", pool="inference", provider="nebius") == 1
    assert value(metrics, "computepool_burst_pods", pool="inference", provider="aws") is None
    assert value(metrics, "computepool_cost_dollars_per_hour", pool="inference", provider="nebius") == 8.85
    assert value(metrics, "computepool_cost_dollars_per_hour", pool="inference", provider="crusoe") is None
    assert value(metrics, "computepool_primary_saturated", pool="inference") == 1


def test_each_condition_is_one_for_the_status_that_it_has() -> None:
    metrics = Metrics()
    for missing, expected in ((False, [0, 1, 0]), (True, [1, 0, 0])):
        seen = report_on(gaps=NO_POLICY if missing else Gaps())
        metrics.passed(seen, conditions_of(seen, (), AT))
        found = [
            value(metrics, "computepool_condition", pool="inference", type="Degraded", status=status)
            for status in ("True", "False", "Unknown")
        ]
        assert found == expected


def test_pods_that_can_not_leave_and_pools_that_stand_still_are_told() -> None:
    metrics = Metrics()
    quiet = report_on()
    lost = report_on(nodes=[*FULL, node("n2"), node("n3", ready="Unknown", quarantine="NodeUnknown")])
    blocked = (
        BlockedMove(pod("a", on="n3"), Reason.WOULD_STRAND),
        BlockedMove(pod("b", on="n1"), Reason.EVICTION_REFUSED),
    )
    plan = msgspec.structs.replace(lost.plan, blocked=blocked, held_back="2 of 3")
    frozen = report_on(seen={"stale": "old"})
    for of, expected in (
        (quiet, [0, 0, 0, 0]),
        (msgspec.structs.replace(lost, plan=plan), [1, 1, 0, 1]),
        (frozen, [0, 0, 1, 0]),
    ):
        metrics.passed(of)
        assert [
            value(metrics, "computepool_stuck_pods", pool="inference", reason="WouldStrand"),
            value(metrics, "computepool_stuck_pods", pool="inference", reason="EvictionRefused"),
            value(metrics, "computepool_frozen", pool="inference"),
            value(metrics, "computepool_held_back", pool="inference"),
        ] == expected


def test_a_primary_of_unknown_state_is_neither_one_nor_nought() -> None:
    metrics = Metrics()
    metrics.passed(report_on(nodes=[node("n1")], pods=[]))
    assert value(metrics, "computepool_primary_saturated", pool="inference") == -1


def test_a_pool_that_is_gone_leaves_no_series() -> None:
    metrics = used()
    metrics.forget("inference")
    assert not [one for one in samples(metrics) if one.labels.get("pool") == "inference"]


def test_a_burst_that_is_counted_after_its_pool_is_gone_goes_with_the_next_forgetting() -> None:
    metrics = Metrics()
    metrics.sent_to_standby("inference", "nebius", Reason.NEXT_PROVIDER)
    metrics.forget("inference")
    assert not [one for one in samples(metrics) if one.labels.get("pool") == "inference"]


def test_a_broken_invariant_is_counted_by_its_number() -> None:
    metrics = used()
    metrics.invariant_breached("inference", 2)
    metrics.invariant_breached("inference", 2)
    name = "computepool_invariant_breaches_total"
    assert value(metrics, name, pool="inference", invariant="2") == 2
    assert value(metrics, name, pool="inference", invariant="5") == 1


OF_THE_PROCESS = {"computepool_events_dropped", "computepool_metric_query_errors"}
"""Counters of the process: they have no pool, and begin with it."""


def counters(metrics: Metrics) -> dict[str, list[float]]:
    """Every counter of the registry, by family: the values of all its series."""
    return {
        family.name: [sample.value for sample in family.samples if sample.name.endswith("_total")]
        for family in metrics.registry.collect()
        if family.type == "counter"
    }


def test_every_counter_begins_at_zero_when_its_pool_is_known_so_that_an_increase_shows_the_first_occurrence() -> None:
    metrics = Metrics()
    of_pools = counters(metrics).keys() - OF_THE_PROCESS
    begun = {name: set(series) for name, series in counters(metrics).items() if series}
    assert begun == {name: {0} for name in OF_THE_PROCESS}
    metrics.begin(PRICED)
    for name in of_pools:
        assert counters(metrics)[name], f"{name} has no series before its first occurrence"
    assert not any(value for series in counters(metrics).values() for value in series)


def test_what_is_counted_later_was_zero_before() -> None:
    begun, later = Metrics(), used()
    begun.begin(PRICED)
    known = {(one.name, *sorted(one.labels.items())) for one in samples(begun)}
    for sample in samples(later):
        if sample.name.endswith("_total"):
            assert (sample.name, *sorted(sample.labels.items())) in known


def test_a_pool_that_is_known_already_keeps_its_counts() -> None:
    metrics = used()
    before = counters(metrics)
    metrics.begin(PRICED)
    assert counters(metrics) == before


def test_a_provider_that_joins_begins_at_zero_and_one_that_leaves_takes_its_moves_along() -> None:
    metrics = used()
    metrics.begin(pool(provider("aws"), provider("crusoe"), provider("edge")))
    moves = [one.labels for one in samples(metrics) if one.name == "computepool_moves_total"]
    assert {labels["from"] for labels in moves} == {labels["to"] for labels in moves} == {"aws", "crusoe", "edge"}
    name = "computepool_bursts_total"
    assert value(metrics, name, pool="inference", provider="edge", reason="PrimarySaturated") == 0


def test_other_pools_keep_theirs() -> None:
    metrics = used()
    metrics.passed(report_on(pool(name="training")))
    metrics.forget("inference")
    assert value(metrics, "computepool_pending_pods", pool="training") == 0


def test_a_provider_that_the_pool_lost_leaves_no_series() -> None:
    metrics = used()
    metrics.passed(report_on(pool(provider("aws"), provider("crusoe"))))
    assert not [one for one in samples(metrics) if one.labels.get("provider") == "nebius"]
    assert [one for one in samples(metrics) if one.labels.get("provider") == "crusoe"]


def test_a_price_that_was_taken_away_takes_the_cost_along() -> None:
    metrics = used()
    metrics.passed(report_on(pool()))
    assert not [one for one in samples(metrics) if one.name == "computepool_cost_dollars_per_hour"]


def test_forgetting_a_pool_never_seen_is_nothing() -> None:
    Metrics().forget("nobody")


def test_the_age_of_a_cache_is_read_when_it_is_asked_for() -> None:
    metrics, age = Metrics(), [1.0]
    metrics.follow_age("pods", lambda: age[0])
    age[0] = 42.0
    assert value(metrics, "computepool_cache_age_seconds", resource="pods") == 42.0
    age[0] = float("inf")
    assert value(metrics, "computepool_cache_age_seconds", resource="pods") == float("inf")


def test_two_sets_of_metrics_in_one_process_do_not_meet() -> None:
    used()
    assert value(Metrics(), "computepool_pending_pods", pool="inference") is None


@pytest.mark.parametrize("name", ["computepool_decision_seconds", "computepool_burst_latency_seconds"])
def test_histograms_are_there_before_the_first_event(name: str) -> None:
    assert value(Metrics(), f"{name}_count") == 0


def test_the_text_is_what_its_content_type_says() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
