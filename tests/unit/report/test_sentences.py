"""Sentences about decisions."""

from __future__ import annotations

from computepool.decide.plan import Burst, Move
from computepool.model.api import Mode
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.report.sentences import burst_sentence, burst_tally, in_mode, move_sentence, move_tally
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


def test_what_is_only_observed_says_so() -> None:
    assert in_mode(Mode.OBSERVE, "Sent to a standby.") == "Observe: Sent to a standby."
    assert in_mode(Mode.ENFORCE, "Sent to a standby.") == "Sent to a standby."


def move(name: str, to: str, *, release: bool = False) -> Move:
    return Move(pod(name, on="n1"), "nebius", to, MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE, release)


def test_running_pods_are_counted_by_their_way_and_one_that_stays_with_its_provider_goes_to_another_node() -> None:
    moves = [move("a", "crusoe"), move("b", "nebius"), move("c", "crusoe")]
    assert str(move_tally(moves)) == (
        f"3 running pod(s) moved: 2 from nebius to crusoe, 1 to another node of nebius. {Reason.LEAVES_SICK_NODE.help}"
    )


def test_one_move_says_where_to_and_where_from() -> None:
    why = Reason.LEAVES_SICK_NODE.help
    assert move_sentence(move("a", "aws")) == f"Evicted, to run on aws in place of nebius. {why}"
    assert move_sentence(move("a", "nebius", release=True)) == (
        f"Released from its lost node, to run on another node of nebius. {why}"
    )
