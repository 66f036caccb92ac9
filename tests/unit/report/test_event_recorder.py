"""What is told, to whom, and how often: events, log lines and counters of one pool's passes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from computepool.decide.plan import Burst, Move, Plan
from computepool.model.api import BreakerState, BreakerStatus, ComputePool, PoolStatus, ProviderStatus
from computepool.model.moves import MoveKind, Outcome, PodMove, Request
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from computepool.report.event_recorder import EventRecorder
from computepool.report.events import Event
from computepool.report.metrics import Metrics, MoveResult
from computepool.report.pass_report import PassReport
from computepool.report.status import status_of
from tests.builders import NOW, node, pod, pool, provider
from tests.unit.report.passes import AT, FULL, NO_POLICY, RESIDENTS, report_on

OBSERVED = pool(mode="Observe")
BURST_POOL = pool()
FAILED = BreakerStatus(state=BreakerState.OPEN, reason="ProviderSilent", failures=1)


class Recording:
    """A recorder and the events that it sends."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.metrics = Metrics()
        self.recorder = EventRecorder(self.metrics, self.events.append)

    def about(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.subject["kind"] == kind]

    def observed(self, bursts: Sequence[Burst] = (), moves: Sequence[Move] = ()) -> bool:
        """Have decisions observed; say whether any of them was new."""
        announced = self.recorder.announced(OBSERVED.name, [*bursts, *moves])
        self.recorder.observe(OBSERVED, Plan(bursts=tuple(bursts), moves=tuple(moves)))
        return not announced

    def turned(self, of: PassReport, before: PoolStatus | None = None) -> PoolStatus:
        before = before or PoolStatus()
        after = status_of(of, before, AT)
        self.recorder.record_status(of.snapshot.pool, before, after)
        return after


def burst(name: str, to: str = "nebius", why: Reason = Reason.PRIMARY_SATURATED) -> Burst:
    return Burst(pod(name), to, why, (("aws", Reason.NO_ROOM),), ())


def held_back(of: PassReport) -> PassReport:
    plan = msgspec.structs.replace(of.plan, held_back="2 of 3 providers have failed at once")
    return msgspec.structs.replace(of, plan=plan)


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [{"message": one.getMessage(), **vars(one).get("fields", {})} for one in caplog.records]


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "computepool")


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
        },
        {
            "message": "burst",
            "pool": "inference",
            "provider": "nebius",
            "reason": "NextProvider",
            "pods": 1,
            "took_ms": 21.3,
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


def test_a_refusal_is_a_warning_on_the_pool_a_line_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    t.recorder.record_refusal(BURST_POOL, "the patch of pod default/a was refused: 422 Invalid: no", 3)
    (event,) = t.events
    assert (event.subject["kind"], event.reason, event.warning) == ("ComputePool", "WriteRefused", True)
    assert "422 Invalid: no" in event.note
    (line,) = lines(caplog)
    assert (line["pods"], "422" in line["error"]) == (3, True)
    assert 'computepool_write_refusals_total{pool="inference"} 3.0' in t.metrics.render().decode()


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
    assert [(event.action, event.warning) for event in told] == [("Degraded", False), ("Breaker", False)]
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


# -- running pods that are moved


def move(name: str, to: str = "crusoe", why: Reason = Reason.LEAVES_SICK_NODE) -> Move:
    return Move(pod(name, on="n1"), "nebius", to, MoveKind.FAILOVER, why)


def test_pods_moved_are_counted_by_why_they_left() -> None:
    t = Recording()
    t.recorder.record_moves(
        BURST_POOL, [move("a"), move("b", "aws"), move("c", why=Reason.LOST_NODE)], MoveResult.MOVED, {}
    )
    assert [(e.reason, e.note) for e in t.about("ComputePool")] == [
        (
            "LeavesSickNode",
            "2 running pod(s) evicted: 1 from nebius (meant for aws), 1 from nebius (meant for crusoe). "
            + Reason.LEAVES_SICK_NODE.help,
        ),
        ("LostNode", f"1 running pod(s) evicted: 1 from nebius (meant for crusoe). {Reason.LOST_NODE.help}"),
    ]


def test_a_pod_that_stays_with_its_provider_goes_to_another_node_of_it() -> None:
    t = Recording()
    t.recorder.record_moves(BURST_POOL, [move("a", "nebius")], MoveResult.MOVED, {})
    assert t.about("Pod")[0].note.startswith("Evicted, meant for another node of nebius. ")
    assert t.about("ComputePool")[0].note.startswith(
        "1 running pod(s) evicted: 1 from nebius (meant for another node of nebius). "
    )


def ended(name: str, outcome: Outcome, landed: str = "", **fields: Any) -> PodMove:
    moved = pod(name, on="a1")
    return PodMove(
        moved, "aws", "nebius", MoveKind.FAILOVER, NOW, request=Request.LET_GO, outcome=outcome, landed=landed, **fields
    )


def outcomes(t: Recording, outcome: Outcome) -> float | None:
    labels = {"pool": "inference", "from": "aws", "to": "nebius", "outcome": str(outcome)}
    return t.metrics.registry.get_sample_value("computepool_move_outcomes_total", labels)


def test_an_evicted_pod_is_not_said_to_be_where_it_is_only_meant_to_go(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    with caplog.at_level(logging.INFO):
        t.recorder.record_moves(BURST_POOL, [move("a")], MoveResult.MOVED, {})
    (line,) = lines(caplog)
    assert (line["message"], line["source"], line["target"]) == ("running pods evicted", "nebius", "crusoe")
    assert "provider" not in line
    assert not [event for event in t.events if "moved" in event.note or "to run on" in event.note]


def test_a_move_that_lands_elsewhere_is_told_once_with_the_provider_on_which_it_landed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    known = [ended("a", Outcome.ELSEWHERE, "crusoe")]
    with caplog.at_level(logging.INFO):
        t.recorder.record_outcomes(BURST_POOL, [ended("a", Outcome.LEFT)])
        assert t.events == []
        t.recorder.record_outcomes(BURST_POOL, known)
        t.recorder.record_outcomes(BURST_POOL, known)
    (on_pod,), (on_pool,) = t.about("Pod"), t.about("ComputePool")
    assert (on_pod.reason, on_pod.warning, on_pod.subject["name"]) == ("LandedElsewhere", True, "a")
    assert "bound on crusoe (meant for nebius)" in on_pod.note
    assert "1 running pod(s) moved: 1 from aws to crusoe (meant for nebius)." in on_pool.note
    (line,) = lines(caplog)
    assert line == {
        "message": "moved pods landed elsewhere",
        "pool": "inference",
        "source": "aws",
        "target": "nebius",
        "provider": "crusoe",
        "outcome": "LandedElsewhere",
        "reason": "LandedElsewhere",
        "pods": 1,
        "names": "default/a",
    }
    assert outcomes(t, Outcome.ELSEWHERE) == 1


def test_a_move_that_ends_well_is_a_line_and_a_count_on_the_pool_and_no_event_on_each_pod(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    with caplog.at_level(logging.INFO):
        t.recorder.record_outcomes(
            BURST_POOL, [ended("a", Outcome.REPLACED, "nebius"), ended("b", Outcome.READY, "nebius")]
        )
        t.recorder.record_outcomes(BURST_POOL, [ended(name, Outcome.READY, "nebius") for name in "ab"])
    assert t.about("Pod") == []
    assert [(event.reason, event.warning) for event in t.events] == [("MoveCompleted", False)]
    assert t.events[0].note.startswith("2 running pod(s) moved: 2 from aws to nebius. ")
    assert [(line["message"], line["pods"]) for line in lines(caplog)] == [
        ("moved pods run where they were meant to", 2)
    ]
    assert outcomes(t, Outcome.REPLACED) == 2


def test_a_replacement_that_was_lost_and_made_anew_is_told_again() -> None:
    t = Recording()
    for outcome, landed in ((Outcome.REPLACED, "nebius"), (Outcome.LEFT, ""), (Outcome.RETURNED, "aws")):
        t.recorder.record_outcomes(BURST_POOL, [ended("a", outcome, landed)])
    assert [event.reason for event in t.about("ComputePool")] == ["MoveCompleted", "MoveReturned"]


def test_what_is_not_known_to_be_let_go_is_not_told() -> None:
    t = Recording()
    asked = msgspec.structs.replace(ended("a", Outcome.REPLACED, "nebius"), request=Request.ASKED)
    t.recorder.record_outcomes(BURST_POOL, [asked])
    assert t.events == []
    t.recorder.record_outcomes(BURST_POOL, [ended("a", Outcome.NOT_REPLACED)])
    assert [event.reason for event in t.events] == ["NotReplaced", "NotReplaced"]


def test_a_refused_eviction_names_the_pods_and_the_budget(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    said = "The disruption budget web needs 2 healthy pods and has 2 currently"
    moves = [move(name) for name in "abcd"]
    t.recorder.record_moves(BURST_POOL, moves, MoveResult.REFUSED, {one.pod.uid: said for one in moves})
    assert t.about("ComputePool") == []
    assert t.about("Pod")[0].note == (
        f"{Reason.EVICTION_REFUSED.help} {said}. It should run on crusoe. {Reason.LEAVES_SICK_NODE.help}"
    )
    (line,) = lines(caplog)
    assert (line["message"], line["pods"], line["error"]) == ("running pods refused", 4, said)
    assert line["names"] == "default/a, default/b, default/c"


def test_an_eviction_that_failed_is_a_warning_on_the_pod_in_the_api_servers_words_and_a_refused_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    moves = [move("a"), move("b")]
    t.recorder.record_moves(
        BURST_POOL, moves, MoveResult.FAILED, {moves[0].pod.uid: "403 Forbidden: denied by a guard"}
    )
    assert [(e.subject["name"], e.reason, e.warning) for e in t.events] == [
        ("a", "WriteRefused", True),
        ("b", "WriteRefused", True),
    ]
    assert " 403 Forbidden: denied by a guard. It should run on " in t.events[0].note
    assert [line["error"] for line in lines(caplog)] == ["403 Forbidden: denied by a guard"]
    assert 'computepool_write_refusals_total{pool="inference"} 2.0' in t.metrics.render().decode()


def test_a_move_that_is_dropped_is_a_line_with_the_reason_and_a_count_and_no_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    dropped = move("a")
    t.recorder.record_moves(
        BURST_POOL, [dropped], MoveResult.DROPPED, {dropped.pod.uid: "Superseded: the spec has changed"}
    )
    assert t.events == []
    assert lines(caplog) == [
        {
            "message": "running pods dropped",
            "pool": "inference",
            "source": "nebius",
            "target": "crusoe",
            "reason": "LeavesSickNode",
            "pods": 1,
            "names": "default/a",
            "error": "Superseded: the spec has changed",
        }
    ]
    assert caplog.records[0].levelno == logging.INFO
    labels = {"pool": "inference", "from": "nebius", "to": "crusoe", "result": "dropped"}
    assert t.metrics.registry.get_sample_value("computepool_moves_total", labels) == 1


def test_in_observe_a_move_is_announced_once_for_each_pod(caplog: pytest.LogCaptureFixture) -> None:
    t = Recording()
    assert t.observed(moves=[move("a")])
    assert not t.observed(moves=[move("a")])
    assert t.observed(moves=[move("a"), move("b")])
    assert [event.subject["name"] for event in t.about("Pod")] == ["a", "b"]
    assert {event.action for event in t.events} == {"WouldFailover"}
    assert [line["pods"] for line in lines(caplog)] == [1, 1]


# -- breakers that turn


def test_a_provider_on_trial_is_told_as_that_and_not_by_why_it_failed() -> None:
    opened = PoolStatus(providers=(ProviderStatus(name="nebius", breaker=FAILED),))
    trial = FAILED.model_copy(update={"state": BreakerState.HALF_OPEN})
    t = Recording()
    t.recorder.record_status(BURST_POOL, opened, PoolStatus(providers=(ProviderStatus(name="nebius", breaker=trial),)))
    (event,) = t.events
    assert (event.action, event.reason, event.warning) == ("Breaker", "CanaryUnderWay", False)
    assert event.note.startswith("Breaker of nebius is HalfOpen. Nothing is wrong with it any more")


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
