"""What is told of bursts and of admission, to whom, and how often: events, log lines and counters."""

from __future__ import annotations

import pytest

from computepool.kube.errors import Invalid, Unavailable
from computepool.model.api import ComputePool
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from computepool.report.event_rate import CAPACITY
from tests.builders import NOW, node, pod, pool, provider
from tests.unit.report.passes import FULL, RESIDENTS, report_on
from tests.unit.report.recording import BURST_POOL, Recording, burst, lines

# -- bursts


def test_each_pod_sent_on_is_told_to_the_pod_and_all_together_to_the_pool() -> None:
    t = Recording()
    t.recorder.record_bursts(BURST_POOL, [burst("a"), burst("b"), burst("c", "crusoe")], 0.02)
    assert [(e.subject["name"], e.reason, e.action) for e in t.about("Pod")] == [
        ("a", "PrimarySaturated", "Burst"),
        ("b", "PrimarySaturated", "Burst"),
        ("c", "PrimarySaturated", "Burst"),
    ]
    (told,) = t.about("ComputePool")
    assert told.note.startswith("3 pod(s) sent to standbys: 1 to crusoe, 2 to nebius.")
    assert not told.warning


def test_a_pods_event_names_the_providers_before_and_why_each_was_rejected() -> None:
    t = Recording()
    t.recorder.record_bursts(BURST_POOL, [burst("a")], 0.02)
    assert "Sent to nebius." in t.about("Pod")[0].note
    assert "aws: NoRoom" in t.about("Pod")[0].note


def test_a_burst_is_one_line_for_each_provider_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    t.recorder.record_bursts(BURST_POOL, [burst("a"), burst("b"), burst("c", why=Reason.NEXT_PROVIDER)], 0.0213)
    assert lines(caplog) == [
        {
            "message": "burst",
            "pool": "inference",
            "provider": "nebius",
            "reason": "PrimarySaturated",
            "pods": 2,
            "took_ms": 21.3,
            "names": "default/a, default/b",
        },
        {
            "message": "burst",
            "pool": "inference",
            "provider": "nebius",
            "reason": "NextProvider",
            "pods": 1,
            "took_ms": 21.3,
            "names": "default/c",
        },
    ]


def test_bursts_are_counted_by_provider_and_reason() -> None:
    t = Recording()
    t.recorder.record_bursts(BURST_POOL, [burst("a"), burst("b")], 0.02)
    text = t.metrics.render().decode()
    assert 'computepool_bursts_total{pool="inference",provider="nebius",reason="PrimarySaturated"} 2.0' in text


# -- Observe


def test_what_would_be_done_is_told_once_for_each_pod(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    assert t.observed([burst("a")])
    assert not t.observed([burst("a")])
    assert t.observed([burst("a"), burst("b")])
    assert [event.subject["name"] for event in t.about("Pod")] == ["a", "b"]
    assert all(event.note.startswith("Observe: ") and event.action == "WouldBurst" for event in t.events)
    assert t.about("Pod")[0].note.startswith("Observe: would be sent to nebius. ")
    assert t.about("ComputePool")[0].note.startswith("Observe: 1 pod(s) would be sent to standbys: 1 to nebius. ")
    assert [line["pods"] for line in lines(caplog)] == [1, 1]
    assert all("took_ms" not in line for line in lines(caplog))


def test_another_provider_for_the_same_pod_is_told_again() -> None:
    t = Recording()
    t.observed([burst("a")])
    assert t.observed([burst("a", "crusoe")])


def test_a_pod_that_no_longer_overflows_is_told_again_when_it_does() -> None:
    t = Recording()
    t.observed([burst("a")])
    assert not t.observed([])
    assert t.observed([burst("a")])


def test_what_would_be_done_is_no_burst_that_was_made() -> None:
    t = Recording()
    t.observed([burst("a")])
    assert "computepool_bursts_total{" not in t.metrics.render().decode()


def test_a_pool_made_anew_is_told_of_anew() -> None:
    t = Recording()
    t.observed([burst("a")])
    t.recorder.forget("inference")
    assert t.observed([burst("a")])


# -- refusals


REFUSED = Invalid(422, "Invalid", "the guard says no")
LOST = Unavailable(503, "ServiceUnavailable", "too busy")


def test_pods_that_could_not_be_sent_are_a_warning_on_the_pool_a_line_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    t.recorder.record_unsent(BURST_POOL, [], [(burst("a"), LOST), (burst("b"), LOST)], NOW)
    (event,) = t.events
    assert (event.subject["kind"], event.reason, event.warning) == ("ComputePool", "WriteRefused", True)
    assert event.note == f"the patch that sends pod default/a to nebius failed: {LOST}"
    (line,) = lines(caplog)
    assert (line["pods"], line["error"]) == (2, event.note)
    assert 'computepool_write_refusals_total{pool="inference"} 2.0' in t.metrics.render().decode()


def test_each_refused_pod_is_told_with_its_provider_and_the_answer() -> None:
    t = Recording()
    t.recorder.record_unsent(BURST_POOL, [(burst("a"), REFUSED), (burst("b", "crusoe"), REFUSED)], [], NOW)
    found = t.about("Pod")
    assert [(event.subject["name"], event.reason, event.provider, event.warning) for event in found] == [
        ("a", "WriteRefused", "nebius", True),
        ("b", "WriteRefused", "crusoe", True),
    ]
    assert found[0].note.startswith("The patch that sends pod default/a to nebius was refused: ")
    assert "the guard says no. After a second refusal, the pod may go to the next provider." in found[0].note


def test_thousands_of_refused_pods_make_few_events() -> None:
    t = Recording()
    t.recorder.record_unsent(BURST_POOL, [(burst(f"p{number}"), REFUSED) for number in range(5000)], [], NOW)
    assert len(t.about("Pod")) <= CAPACITY
    assert len(t.about("ComputePool")) == 1


# -- admission


def test_opened_and_closed_admission_are_told_with_whom_and_why(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    opened = t.turned(report_on(pool(sustain=0)))
    (event,) = [one for one in t.events if one.action == "Admission"]
    assert (event.reason, event.note) == ("PrimaryAllocated", "New pods may use nebius from their creation on.")
    t.events.clear()
    cleared = pool(sustain=0, clear=0, status=opened.to_object())
    t.turned(report_on(cleared, pods=[]), opened)
    (event,) = [one for one in t.events if one.action == "Admission"]
    assert event.reason == "PrimaryHasRoom"
    told = [line for line in lines(caplog) if line["message"].startswith("admission")]
    assert told == [
        {"message": "admission opened", "pool": "inference", "provider": "nebius", "reason": "PrimaryAllocated"},
        {"message": "admission closed", "pool": "inference", "reason": "PrimaryHasRoom"},
    ]


def test_a_provider_with_tolerations_of_its_own_is_told_by_its_name() -> None:
    liqo = {"key": "virtual-node.liqo.io/not-allowed", "operator": "Exists", "effect": "NoExecute"}
    t = Recording()
    nodes = [FULL[0], node("n1", 4, tainted=False, taints=[Taint(liqo["key"], "", "NoExecute")])]
    t.turned(report_on(pool(provider("aws"), provider("nebius", tolerations=[liqo]), sustain=0), nodes))
    (event,) = [one for one in t.events if one.action == "Admission"]
    assert "nebius" in event.note
    assert "liqo" not in event.note


def test_admission_that_moves_on_to_another_provider_is_told_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    before = t.turned(report_on(pool(sustain=0)))
    t.events.clear()
    of: ComputePool = pool(sustain=0, status=before.to_object())
    after = t.turned(report_on(of, pods=[*RESIDENTS, pod("b", 4, on="n1")]), before)
    assert after.last_decision is not None
    assert after.last_decision.action == "OpenAdmission"
    assert "crusoe" in after.last_decision.message
    (event,) = [one for one in t.events if one.action == "Admission"]
    assert event.note == "New pods may use crusoe from their creation on."
    (line,) = [one for one in lines(caplog) if one["message"] == "admission moved"]
    assert line["provider"] == "crusoe"
    t.events.clear()
    t.turned(report_on(of.model_copy(update={"status": after}), pods=[*RESIDENTS, pod("b", 4, on="n1")]), after)
    assert not [event for event in t.events if event.action == "Admission"]


def test_a_standby_that_keeps_admission_closed_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    held = pool(provider("aws"), provider("nebius", max_accelerators=64), provider("crusoe"), sustain=0)
    after = t.turned(report_on(held))
    t.turned(report_on(held.model_copy(update={"status": after})), after)
    (event,) = [one for one in t.events if one.action == "Admission"]
    assert event.reason == "PreferredStandbyFirst"
    assert "nebius takes pods and has maxAccelerators" in event.note
    (line,) = [one for one in lines(caplog) if one["message"].startswith("admission")]
    assert (line["message"], line["provider"]) == ("admission closed", "nebius")
