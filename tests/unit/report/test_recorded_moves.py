"""What is told of running pods that are moved, to whom, and how often: events, log lines and counters."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from computepool.decide.plan import Move
from computepool.model.moves import MoveKind, Outcome, PodMove, Request
from computepool.model.reasons import Reason
from computepool.report.metrics import MoveResult
from tests.builders import NOW, pod
from tests.unit.report.recording import BURST_POOL, OBSERVED, Recording, lines


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


def test_a_move_that_was_made_before_the_mode_was_changed_is_told_as_made() -> None:
    t = Recording()
    t.recorder.record_outcomes(OBSERVED, [ended("a", Outcome.REPLACED, "nebius")])
    assert t.events[0].note.startswith("1 running pod(s) moved: 1 from aws to nebius. ")


def test_a_move_that_is_only_observed_says_would_on_the_pod_on_the_pool_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    t = Recording()
    with caplog.at_level(logging.INFO):
        t.observed(moves=[move("a"), move("b")])
    (on_pod, _), (on_pool,) = t.about("Pod"), t.about("ComputePool")
    assert on_pod.note.startswith("Observe: would be evicted, meant for crusoe in place of nebius. ")
    assert on_pool.note.startswith("Observe: 2 running pod(s) would be moved: 2 from nebius to crusoe. ")
    (line,) = lines(caplog)
    assert (line["message"], line["names"]) == ("would move running pods", "default/a, default/b")


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
