"""Sentences about decisions."""

from __future__ import annotations

import pytest

from computepool.decide.plan import Burst, Move
from computepool.model.api import Mode
from computepool.model.moves import MoveKind, Outcome, PodMove, Request
from computepool.model.reasons import Reason
from computepool.report.sentences import (
    burst_sentence,
    burst_tally,
    eviction_tally,
    in_mode,
    move_sentence,
    outcome_sentence,
    outcome_tally,
    wish_tally,
)
from tests.builders import pod

WHY = Reason.PRIMARY_SATURATED


def burst(name: str, to: str, *rejected: tuple[str, Reason]) -> Burst:
    return Burst(pod(name), to, WHY, rejected or (("aws", Reason.NO_ROOM),), ())


def test_a_group_of_bursts_is_counted_by_provider() -> None:
    bursts = [burst("a", "nebius"), burst("b", "crusoe"), burst("c", "nebius")]
    assert str(burst_tally(bursts)) == f"3 pod(s) sent to standbys: 1 to crusoe, 2 to nebius. {WHY.help}"


def test_one_burst_names_the_providers_considered_before_in_order() -> None:
    one = burst("a", "crusoe", ("aws", Reason.NO_ROOM), ("nebius", Reason.AT_MAX_ACCELERATORS))
    assert burst_sentence(one) == (
        f"Sent to crusoe. {WHY.help} Considered before: aws: NoRoom, nebius: AtMaxAccelerators."
    )


def test_one_burst_names_the_signals_that_are_on() -> None:
    one = Burst(pod("a"), "nebius", WHY, (("aws", Reason.NO_ROOM),), (), ("queue", "busy"))
    assert burst_sentence(one) == (
        f"Sent to nebius. {WHY.help} Signals that are on: queue, busy. Considered before: aws: NoRoom."
    )


def test_what_is_only_observed_says_so() -> None:
    assert in_mode(Mode.OBSERVE, "Sent to a standby.") == "Observe: Sent to a standby."
    assert in_mode(Mode.ENFORCE, "Sent to a standby.") == "Sent to a standby."


def move(name: str, to: str, *, release: bool = False) -> Move:
    return Move(pod(name, on="n1"), "nebius", to, MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE, release)


def test_pods_to_be_moved_are_counted_by_their_way_and_one_that_stays_goes_to_another_node() -> None:
    moves = [move("a", "crusoe"), move("b", "nebius"), move("c", "crusoe")]
    assert str(wish_tally(moves)) == (
        "3 running pod(s) to be moved: 2 from nebius to crusoe, 1 to another node of nebius. "
        f"{Reason.LEAVES_SICK_NODE.help}"
    )


def test_an_eviction_says_where_the_pod_is_meant_to_go_and_not_that_it_went_there() -> None:
    moves = [move("a", "crusoe"), move("b", "nebius"), move("c", "crusoe")]
    assert str(eviction_tally(moves)) == (
        "3 running pod(s) evicted: 1 from nebius (meant for another node of nebius), 2 from nebius (meant for crusoe). "
        f"{Reason.LEAVES_SICK_NODE.help}"
    )


def test_pods_that_are_deleted_on_lost_nodes_are_not_called_evicted() -> None:
    assert str(eviction_tally([move("a", "crusoe", release=True)])).startswith(
        "1 running pod(s) released from lost nodes: 1 from nebius (meant for crusoe). "
    )


def ended(outcome: Outcome, landed: str = "", to: str = "nebius") -> PodMove:
    return PodMove(
        pod("a", on="a1"), "aws", to, MoveKind.FAILOVER, 0.0, request=Request.LET_GO, outcome=outcome, landed=landed
    )


@pytest.mark.parametrize(
    ("move", "counted", "told"),
    [
        (
            ended(Outcome.REPLACED, "nebius"),
            "1 running pod(s) moved: 1 from aws to nebius. ",
            "Its replacement was bound on nebius (meant for nebius). ",
        ),
        (
            ended(Outcome.REPLACED, "aws", "aws"),
            "1 running pod(s) moved: 1 to another node of aws. ",
            "Its replacement was bound on aws (meant for another node of aws). ",
        ),
        (
            ended(Outcome.ELSEWHERE, "crusoe"),
            "1 running pod(s) moved: 1 from aws to crusoe (meant for nebius). ",
            "Its replacement was bound on crusoe (meant for nebius). ",
        ),
        (
            ended(Outcome.ELSEWHERE),
            "1 running pod(s) moved: 1 from aws to a node of no provider (meant for nebius). ",
            "Its replacement was bound on a node of no provider of the pool (meant for nebius). ",
        ),
        (
            ended(Outcome.RETURNED, "aws"),
            "1 evicted pod(s) came back: 1 to aws (meant for nebius). ",
            "Its replacement was bound on aws (meant for nebius). ",
        ),
        (
            ended(Outcome.NOT_REPLACED),
            "1 evicted pod(s) not replaced in time: 1 from aws (meant for nebius). ",
            "Its replacement was not bound in time (meant for nebius). ",
        ),
    ],
    ids=lambda value: str(value.outcome) if isinstance(value, PodMove) else "",
)
def test_an_outcome_says_where_the_replacement_went(move: PodMove, counted: str, told: str) -> None:
    assert str(outcome_tally([move], WHY)) == counted + WHY.help
    assert outcome_sentence(move, WHY) == told + WHY.help


def test_one_move_says_where_to_and_where_from() -> None:
    why = Reason.LEAVES_SICK_NODE.help
    assert move_sentence(move("a", "aws")) == f"Evicted, meant for aws in place of nebius. {why}"
    assert move_sentence(move("a", "nebius", release=True)) == (
        f"Released from its lost node, meant for another node of nebius. {why}"
    )
