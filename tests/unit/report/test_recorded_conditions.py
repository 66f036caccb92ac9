"""What is told of conditions, nodes and breakers that change, to whom, and how often."""

from __future__ import annotations

import logging

import pytest

from computepool.model.api import BreakerState, PoolStatus, ProviderStatus
from computepool.report.pass_report import PassReport
from tests.builders import NOW, node, pod, pool, provider
from tests.unit.report.passes import FULL, NO_POLICY, RESIDENTS, report_on
from tests.unit.report.recording import BURST_POOL, FAILED, OBSERVED, Recording, held_back, lines

# -- conditions that turn


def test_a_new_pool_where_all_is_well_is_told_to_be_ready_and_nothing_else() -> None:
    t = Recording()
    t.turned(report_on(pods=[]))
    assert [(event.action, event.reason) for event in t.events] == [("Ready", "Reconciled")]


def test_a_condition_that_stays_is_not_told_again(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    before = t.turned(report_on(pods=RESIDENTS))
    t.events.clear()
    caplog.clear()
    t.turned(report_on(pods=RESIDENTS[:1]), before)
    assert t.events == []
    assert lines(caplog) == []


def test_saturation_and_its_end_are_told_without_alarm() -> None:
    t = Recording()
    before = t.turned(report_on(pods=[]))
    t.events.clear()
    full = t.turned(report_on(pods=[*RESIDENTS, pod("new")]), before)
    told = [event for event in t.events if event.action == "Saturated"]
    assert [(event.reason, event.warning) for event in told] == [("PodsOverflow", False)]
    assert told[0].note.startswith("Saturated is True: aws: 2 of 2")
    t.events.clear()
    t.turned(report_on(pods=[]), full)
    assert [(event.action, event.reason) for event in t.events if event.action == "Saturated"] == [
        ("Saturated", "PrimaryHasRoom")
    ]


def test_trouble_is_a_warning_and_its_end_is_not() -> None:
    t = Recording()
    well = t.turned(report_on())
    t.events.clear()
    degraded = t.turned(report_on(gaps=NO_POLICY), well)
    t.turned(report_on(), degraded)
    assert [(event.reason, event.warning) for event in t.events if event.action == "Degraded"] == [
        ("PolicyMissing", True),
        ("AllWell", False),
    ]


def test_something_worse_upon_what_is_wrong_already_is_told(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    degraded = t.turned(report_on(gaps=NO_POLICY))
    t.events.clear()
    caplog.clear()
    worse = t.turned(held_back(report_on(gaps=NO_POLICY)), degraded)
    (event,) = t.events
    assert (event.action, event.reason, event.warning) == ("Degraded", "TooManyFailed", True)
    assert event.note == (
        "Degraded is True: 2 of 3 providers have failed at once. Also PolicyMissing: pods are burst by patching alone."
    )
    assert [line["reason"] for line in lines(caplog)] == ["TooManyFailed"]
    t.events.clear()
    t.turned(report_on(gaps=NO_POLICY), worse)
    assert [event.reason for event in t.events] == ["PolicyMissing"]


def test_another_reason_for_saturation_is_no_news() -> None:
    t = Recording()
    before = t.turned(report_on(pods=[*RESIDENTS, pod("new")]))
    t.events.clear()
    t.turned(report_on(pool(status=before.to_object()), pods=[]), before)
    assert not [event for event in t.events if event.action == "Saturated"]


def test_a_mode_that_was_changed_is_told() -> None:
    t = Recording()
    before = t.turned(report_on(pods=[]))
    t.events.clear()
    t.turned(report_on(OBSERVED, pods=[]), before)
    assert [(event.action, event.reason, event.warning) for event in t.events] == [("Ready", "Observing", False)]


def test_a_drain_by_hand_alarms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    t.turned(report_on(pool(provider("aws"), provider("nebius", drain=True), provider("crusoe")), pods=[]))
    told = [event for event in t.events if event.reason == "Drained"]
    assert [(event.action, event.warning) for event in told] == [("Breaker", False)]
    assert all(one.levelno == logging.INFO for one in caplog.records)


def test_a_view_that_is_lost_is_told_once_and_what_was_wrong_before_ends_after_it() -> None:
    t = Recording()
    degraded = t.turned(report_on(gaps=NO_POLICY))
    all_silent = t.turned(report_on(seen={"stale": "the view is old"}), degraded)
    t.events.clear()
    t.turned(report_on(), all_silent)
    assert [event.reason for event in t.events if event.action == "Degraded"] == ["AllWell"]
    t.events.clear()
    t.turned(report_on(seen={"stale": "the view is old"}), all_silent)
    assert not [event for event in t.events if event.action == "Degraded"]


def test_a_pool_that_is_not_ready_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    t.turned(report_on(nodes=[], pods=[]))
    (ready,) = [event for event in t.events if event.action == "Ready"]
    assert ready.warning
    assert any(one.levelno == logging.WARNING and "nodeSelector" in one.getMessage() for one in caplog.records)


def test_conditions_that_follow_from_others_are_not_told() -> None:
    t = Recording()
    t.turned(report_on(pods=[*RESIDENTS, pod("away", on="n1")]))
    assert {event.action for event in t.events} <= {"Ready", "Saturated", "Degraded", "Admission", "Burst"}


# -- nodes that become unhealthy


def unhealthy(*names: str, well: int = 9) -> PassReport:
    """Of nebius these nodes are unhealthy, beside others that are well."""
    lost = [node(name, ready="Unknown", quarantine="NodeUnknown") for name in names]
    return report_on(nodes=[*FULL, *(node(f"well-{index}") for index in range(well)), *lost], pods=[])


def test_a_node_that_becomes_unhealthy_is_named_with_what_is_wrong_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    assert t.recorder.record_nodes(unhealthy(), NOW) is None
    assert t.events == []
    t.recorder.record_nodes(unhealthy("n2"), NOW)
    t.recorder.record_nodes(unhealthy("n2"), NOW + 30)
    mended = report_on(nodes=[*FULL, node("n2")])
    t.recorder.record_nodes(mended, NOW + 60)
    assert [(e.subject["kind"], e.action, e.reason, e.warning, e.note) for e in t.events] == [
        ("ComputePool", "Health", "NodeUnknown", True, "1 node of nebius became unhealthy: n2 (NodeUnknown)."),
        ("ComputePool", "Health", "NodesWell", False, "1 node of nebius is healthy again: n2."),
    ]
    assert [(line["message"], line["provider"], line["names"]) for line in lines(caplog)] == [
        ("nodes unhealthy", "nebius", "n2"),
        ("nodes healthy", "nebius", "n2"),
    ]


def test_an_unhealthy_node_that_is_deleted_is_told_to_be_gone() -> None:
    t = Recording()
    t.recorder.record_nodes(unhealthy("n2"), NOW)
    t.recorder.record_nodes(unhealthy(), NOW + 60)
    assert t.events[-1].note == "1 node of nebius is gone: n2."


def test_nodes_that_become_unhealthy_one_after_another_are_told_together() -> None:
    t = Recording()
    names = [f"n{index}" for index in range(2, 9)]
    t.recorder.record_nodes(unhealthy(*names[:1]), NOW)
    for index in range(2, 8):
        due = t.recorder.record_nodes(unhealthy(*names[:index]), NOW + index / 10)
        assert due == NOW + 5
    assert len(t.events) == 1
    assert t.recorder.record_nodes(unhealthy(*names), NOW + 5) is None
    (_, rest) = t.events
    assert rest.note.startswith("6 nodes of nebius became unhealthy: n3 (NodeUnknown), n4")
    assert rest.note.endswith(" and 1 more.")


def test_while_nothing_can_be_seen_no_node_is_told_of() -> None:
    t = Recording()
    assert t.recorder.record_nodes(report_on(seen={"stale": "the view is old"}), NOW) is None
    assert t.events == []


# -- breakers that turn


def test_a_provider_on_trial_is_told_as_that_and_not_by_why_it_failed() -> None:
    opened = PoolStatus(providers=(ProviderStatus(name="nebius", breaker=FAILED),))
    trial = FAILED.model_copy(update={"state": BreakerState.HALF_OPEN})
    t = Recording()
    t.recorder.record_status(BURST_POOL, opened, PoolStatus(providers=(ProviderStatus(name="nebius", breaker=trial),)))
    (event,) = t.events
    assert (event.action, event.reason, event.warning) == ("Breaker", "CanaryUnderWay", False)
    assert event.note.startswith("Breaker of nebius is HalfOpen. Nothing is wrong with it any more")
