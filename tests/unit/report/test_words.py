"""Sentences about decisions."""

from __future__ import annotations

from computepool.assess.demand.overflow import Hold
from computepool.decide.plan import Burst, Move
from computepool.model.api import Mode
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.report.words import burst_message, burst_words, hold_words, in_mode, move_message, move_words
from tests.builders import pod, shape

WHY = Reason.PRIMARY_SATURATED


def burst(name: str, to: str, *rejected: tuple[str, Reason]) -> Burst:
    return Burst(pod(name), to, WHY, rejected or (("aws", Reason.NO_ROOM),), ())


def test_a_group_of_bursts_is_counted_by_provider() -> None:
    bursts = [burst("a", "nebius"), burst("b", "crusoe"), burst("c", "nebius")]
    assert burst_message(bursts) == f"3 pod(s) sent on: 1 to crusoe, 2 to nebius. {WHY.help}"


def test_one_burst_names_the_providers_considered_before_in_order() -> None:
    one = burst("a", "crusoe", ("aws", Reason.NO_ROOM), ("nebius", Reason.AT_MAX_ACCELERATORS))
    assert burst_words(one) == (
        f"Sent on to crusoe. {WHY.help} Considered before: aws: NoRoom, nebius: AtMaxAccelerators."
    )


def test_what_is_only_observed_says_so() -> None:
    assert in_mode(Mode.OBSERVE, "Sent on.") == "Observe: Sent on."
    assert in_mode(Mode.ENFORCE, "Sent on.") == "Sent on."


def test_a_pod_that_waits_says_for_whom_and_what_was_rejected_and_not_looked_at() -> None:
    waiting = pod("a", shaped=shape(1, unmodelled=("volumes", "podAffinity")))
    hold = Hold(waiting, Reason.NO_PROVIDER_LEFT, "nebius", (("aws", Reason.NO_ROOM), ("nebius", Reason.PINNED)))
    assert hold_words(hold) == (
        f"{Reason.NO_PROVIDER_LEFT.help} Provider: nebius. Considered: aws: NoRoom, nebius: Pinned. "
        "Not looked at: volumes, podAffinity; the scheduler decides on those."
    )


def move(name: str, to: str, *, release: bool = False) -> Move:
    return Move(pod(name, on="n1"), "nebius", to, MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE, release)


def test_running_pods_are_counted_by_their_way_and_one_that_stays_with_its_provider_goes_to_another_node() -> None:
    moves = [move("a", "crusoe"), move("b", "nebius"), move("c", "crusoe")]
    assert move_message(moves) == (
        f"3 running pod(s) moved: 2 from nebius to crusoe, 1 to another node of nebius. {Reason.LEAVES_SICK_NODE.help}"
    )


def test_one_move_says_where_to_and_where_from() -> None:
    why = Reason.LEAVES_SICK_NODE.help
    assert move_words(move("a", "aws")) == f"Evicted, to run on aws in place of nebius. {why}"
    assert move_words(move("a", "nebius", release=True)) == (
        f"Released from its lost node, to run on another node of nebius. {why}"
    )
