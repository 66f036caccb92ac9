"""When a standby is held off a workload or a shape, and when that is over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from computepool.assess.breakers.not_bound import digest_of
from computepool.model.api.status import MAX_HOLD_OFFS
from computepool.model.cluster import Pod
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from computepool.model.state import HoldOff, PoolState, Saturation, restarted
from tests.builders import NOW, node, pod, pod_move, pool, pool_state, provider, snapshot
from tests.builders import shape as shaped
from tests.unit.core.moving import faults_of, moved_to, owned, unhealthy_node
from tests.unit.core.passes import Decided, decided, flying, hold_of, sent_to
from tests.unit.core.watching import Watch

NODES = [node("a1"), node("n1"), node("n2"), node("c1")]
HOME = pod("home", 8, on="a1", waited=1000)
SATURATED = Saturation(True)


def failures(count: int, owner: str = "job", on: str = "n1", at: float = -1) -> tuple[Failure, ...]:
    """Pods that a node has refused."""
    return tuple(Failure(f"{owner}-{on}-{index}", on, owner, NOW + at, refused=True) for index in range(count))


def held(owner: str = "job", *, until: float = 60, **fields: Any) -> HoldOff:
    """A hold-off of a workload from nebius, which began just now."""
    return HoldOff(
        "nebius", Reason.WORKLOAD_BACK_OFF, owner, **{"failures": 1, "since": NOW, **fields}, until=NOW + until
    )


def look(
    pods: Iterable[Pod] = (), state: PoolState | None = None, at: float = 0, *, nodes: Any = NODES, **seen: Any
) -> Decided:
    """One pass over a pool whose primary is full."""
    of = pool(health={"blackHoles": {"pods": 0}})
    return decided(snapshot(of, nodes, [HOME, *pods], **seen), state, NOW + at)


def hold_offs(plan: Decided) -> list[tuple[str, Reason]]:
    """The hold-offs of the next pass."""
    return [(found.provider, found.reason) for found in plan.state.recorded.hold_offs]


BEGUN = [("nebius", Reason.WORKLOAD_BACK_OFF)]


@pytest.mark.parametrize(
    ("failed", "ready", "begun"),
    [
        (failures(2), 0, []),
        (failures(3), 0, BEGUN),
        ((*failures(2), *failures(1, on="n2")), 0, BEGUN),
        ((*failures(2), *failures(2, on="c1")), 0, []),
        (failures(3, on="a1"), 0, []),
        (failures(3, on="x1"), 0, []),
        (failures(3, owner=""), 0, []),
        (failures(3), 2, BEGUN),
        (failures(3), 3, []),
        (failures(4), 3, BEGUN),
        (failures(9), 20, []),
        (failures(10), 20, BEGUN),
    ],
    ids=[
        "too few",
        "enough",
        "on several nodes",
        "on several providers",
        "on the primary",
        "on a node of no provider",
        "bare pods",
        "more than are ready",
        "as many as are ready",
        "more than many that are ready",
        "not many of a large workload",
        "many of a large workload",
    ],
)
def test_a_workload_whose_pods_fail_on_a_standby_is_held_off_it(
    failed: tuple[Failure, ...], ready: int, begun: list[tuple[str, Reason]]
) -> None:
    pods = [pod(f"r{index}", on="n2", owner="job", ready=True, created=NOW - 100) for index in range(ready)]
    assert hold_offs(look(pods, failures=failed)) == begun


def test_pods_that_failed_before_a_ready_pod_came_do_not_count() -> None:
    ready = pod("ready", on="n2", owner="job", ready=True, created=NOW - 5)
    assert hold_offs(look([ready], failures=failures(9, at=-10))) == []
    assert hold_offs(look([ready], failures=failures(9, at=-1))) == BEGUN


def test_programs_that_fail_at_once_count_as_well() -> None:
    assert hold_offs(look(crashes=failures(3))) == BEGUN
    assert hold_offs(look(failures=failures(2), crashes=failures(1, on="n2"))) == BEGUN


def test_a_workload_of_another_pool_is_not_held_off() -> None:
    # Its pod requests no accelerator of this pool.
    other = pod("other", 0, on="n1", owner="job")
    assert hold_offs(look([other], failures=failures(5))) == []
    own = pod("own", on="n1", owner="job")
    assert hold_offs(look([other, own], failures=failures(5))) == BEGUN


def test_a_workload_that_is_held_off_goes_on_and_others_do_not() -> None:
    plan = look([pod("mine", owner="job"), pod("other", owner="web")], pool_state(hold_offs=(held(),)))
    assert sent_to(plan) == {"mine": "crusoe", "other": "nebius"}
    assert plan.recheck_at is not None
    assert plan.recheck_at <= NOW + 60


def test_a_pod_that_is_held_off_everywhere_waits_with_that_reason() -> None:
    state = pool_state(hold_offs=(held(), HoldOff("crusoe", Reason.WORKLOAD_BACK_OFF, "job", 1, NOW, NOW + 60)))
    assert hold_of(look([pod("mine", owner="job")], state), "mine").reason is Reason.WORKLOAD_BACK_OFF


def test_after_the_back_off_one_pod_is_tried_and_the_others_go_on() -> None:
    pods = [pod(f"p{index}", owner="job", waited=100 - index) for index in range(3)]
    state = pool_state(hold_offs=(held(until=-1),))
    first = look(pods, state)
    assert sent_to(first) == {"p0": "nebius", "p1": "crusoe", "p2": "crusoe"}
    # While the patch is under way, while the pod waits, and while it runs and is not ready yet.
    tried = pod("p0", owner="job", sent=[("nebius", NOW)])
    bound = pod("p0", owner="job", on="n1", sent=[("nebius", NOW)])
    for seen, fields in ((pods[0], {"in_flight": flying(pods[0], to="nebius")}), (tried, {}), (bound, {})):
        assert sent_to(look([seen, pods[1]], first.state, 1, **fields)) == {"p1": "crusoe"}


def test_a_trial_without_end_does_not_keep_others_away_for_ever() -> None:
    state = pool_state(hold_offs=(held(until=-1),))
    slow = pod("slow", owner="job", on="n1", sent=[("nebius", NOW)])
    assert sent_to(look([slow, pod("next", owner="job")], state, 59)) == {"next": "crusoe"}
    assert sent_to(look([slow, pod("next", owner="job")], state, 61)) == {"next": "nebius"}


def test_each_time_it_lasts_twice_as_long() -> None:
    state, at = look(failures=failures(3)).state, 0.0
    for times in (1, 2, 3, 4):
        (found,) = state.recorded.hold_offs
        assert found.failures == times
        assert 0.9 * 60 * 2 ** (times - 1) <= found.until - found.since <= 1.1 * 60 * 2 ** (times - 1)
        at = found.until - NOW
        state = look(state=state, at=at + 1, failures=failures(3 + times, at=at)).state


def test_a_new_leader_goes_on_from_the_status_and_counts_no_old_failure_again() -> None:
    before = look(failures=failures(3)).state
    for at in (30, 100):
        after = look(state=restarted(before.recorded), at=at, failures=failures(9, at=29)).state
        assert after.recorded.hold_offs == before.recorded.hold_offs


def test_a_pod_that_its_selectors_keep_off_is_told_so_in_spite_of_a_hold_off() -> None:
    of = pool(provider("aws"), provider("nebius", on_demand=True))
    elsewhere = shaped(1, selector={"computepool.io/provider": "crusoe"})
    shape_held = HoldOff("nebius", Reason.INSUFFICIENT_CAPACITY, digest_of(elsewhere), 1, NOW, NOW + 60)
    plan = decided(snapshot(of, NODES, [HOME, pod("p", shaped=elsewhere)]), pool_state(hold_offs=(shape_held,)))
    assert hold_of(plan, "p").reason is Reason.PINNED


def test_pods_that_fail_while_it_lasts_do_not_make_it_longer() -> None:
    before = look(failures=failures(3)).state
    after = look(state=before, at=30, failures=failures(9, at=29)).state
    assert after.recorded.hold_offs == before.recorded.hold_offs
    assert look(state=after, at=100, failures=failures(9, at=29)).state.recorded.hold_offs == before.recorded.hold_offs


@pytest.mark.parametrize(("ready", "over"), [(2, True), (1, False)])
def test_it_is_over_once_more_pods_are_ready_there_than_when_it_began(ready: int, over: bool) -> None:
    pods = [pod(f"r{index}", on="n1", owner="job", ready=True, created=NOW - 100) for index in range(ready)]
    plan = look(pods, pool_state(hold_offs=(held(running=1),)), 5, failures=failures(3))
    assert (hold_offs(plan) == []) is over
    # The failed pods are still there, and begin no other.
    assert (hold_offs(look(pods, plan.state, 6, failures=failures(3))) == []) is over


def test_it_is_forgotten_if_nothing_is_tried_for_the_longest_back_off() -> None:
    state = pool_state(hold_offs=(held(),))
    assert hold_offs(look(state=state, at=3659)) == BEGUN
    assert hold_offs(look(state=state, at=3660)) == []


def test_a_provider_that_the_pool_has_lost_holds_nobody_off() -> None:
    state = pool_state(hold_offs=(HoldOff("gone", Reason.WORKLOAD_BACK_OFF, "job", 1, NOW, NOW + 60),))
    assert hold_offs(look(state=state)) == []


def test_the_newest_are_recorded() -> None:
    many = tuple(held(f"job-{index}", since=NOW - index) for index in range(MAX_HOLD_OFFS))
    plan = look(state=pool_state(hold_offs=many), at=1, failures=failures(3))
    assert len(plan.state.recorded.hold_offs) == MAX_HOLD_OFFS
    assert plan.state.recorded.hold_offs[0].subject == "job"
    assert f"job-{MAX_HOLD_OFFS - 1}" not in {found.subject for found in plan.state.recorded.hold_offs}


def test_while_nothing_can_be_judged_hold_offs_stay_as_they_are() -> None:
    state = pool_state(hold_offs=(held(),))
    assert look(state=state, at=9999, stale="lost").state.recorded.hold_offs == (held(),)


# -- admission


@pytest.mark.parametrize(
    ("at", "pods", "admitted"),
    [
        (0, [pod("w", owner="job")], ""),
        (0, [pod("r", on="c1", owner="job")], ""),
        (0, [], "nebius"),
        (100, [pod("w", owner="job")], ""),
        (100, [pod("r", on="c1", owner="job")], "nebius"),
    ],
    ids=["it waits", "it runs elsewhere", "it is gone", "it waits for its trial", "the back-off is over"],
)
def test_a_provider_that_a_workload_is_held_off_is_not_given_to_new_pods(
    at: float, pods: list[Pod], admitted: str
) -> None:
    assert look(pods, pool_state(SATURATED, hold_offs=(held(),)), at).admission.provider == admitted


def test_a_shape_that_is_held_off_keeps_admission_open_and_is_sent_on() -> None:
    of = pool(provider("aws"), provider("nebius", on_demand=True), provider("crusoe"))
    late = pod("late", 4, sent=[("nebius", NOW - 700)], waited=700, unschedulable=True)
    full = [pod("full", 8, on="n1", waited=1000)]
    nodes = [node("a1"), node("n1"), node("c1")]
    first = decided(snapshot(of, nodes, [HOME, late, *full]), pool_state(SATURATED))
    assert hold_offs(first) == [("nebius", Reason.INSUFFICIENT_CAPACITY)]
    assert first.admission.provider == "nebius"
    born = [pod(f"born-{gpus}", gpus, tolerates=["nebius"], waited=10) for gpus in (4, 2)]
    plan = decided(snapshot(of, nodes, [HOME, *full, *born]), first.state, NOW + 10)
    assert sent_to(plan) == {"born-4": "crusoe"}
    assert hold_of(plan, "born-2").reason is Reason.AWAITING_NODES


# -- moves


def test_a_running_pod_is_not_moved_to_a_provider_that_its_workload_is_held_off() -> None:
    nodes = [unhealthy_node("a1"), node("n1"), node("c1")]
    state = pool_state(SATURATED, node_faults=faults_of("a1"), hold_offs=(held("web"),))
    of = pool(failover={"runningPods": "MoveFromUnhealthyNodes"})
    seen = snapshot(of, nodes, [owned("mine", on="a1", owner="web"), owned("other", on="a1", owner="api")])
    assert moved_to(decided(seen, state)) == {"mine": "crusoe", "other": "nebius"}


def test_a_replacement_that_is_not_seen_yet_keeps_its_place_elsewhere() -> None:
    gone = pod("moved", 8, on="a1", owner="job")
    move = pod_move(gone, "nebius", at=NOW - 1, source="aws", kind=MoveKind.FAILOVER)
    plan = look([pod("big", 8, owner="web")], pool_state(hold_offs=(held(),)), moves=(move,))
    assert sent_to(plan) == {"big": "nebius"}


# -- shapes, and the scheduler's say


def watch_of(*fitting: Pod) -> Watch:
    """A watch whose passes have had a place at nebius for these pods for long."""
    return Watch(pool(), pool_state(fitting={(fit.uid, "nebius"): NOW - 100 for fit in fitting}))


@pytest.mark.parametrize(("bound_at", "begun"), [(-90, True), (-50, False)])
def test_a_pod_that_is_not_bound_although_later_pods_like_it_were_is_at_fault_itself(
    bound_at: float, begun: bool
) -> None:
    late = pod("late", sent=[("nebius", NOW - 70)], unschedulable=True, owner="job")
    bound = pod("bound", on="n2", sent=[("nebius", NOW + bound_at)], waited=1000, owner="job")
    watch = watch_of(late)
    watch.see(0, NODES, [HOME, late, bound])
    assert bool(watch.state.recorded.hold_offs) is begun


def held_shape(*, of: str = "") -> HoldOff:
    """A hold-off of pods with one accelerator, or only of the pods of a workload, which left places at nebius free."""
    subject = f"{digest_of(shaped(1))}/{of}" if of else digest_of(shaped(1))
    return HoldOff("nebius", Reason.INSUFFICIENT_CAPACITY, subject, 1, NOW - 1, NOW + 60, unused_place=True)


FULL_CRUSOE = pod("full", 8, on="c1", waited=1000)
FULL_NEBIUS = [pod("full-1", 8, on="n1", waited=1000), pod("full-2", 8, on="n2", waited=1000)]


@pytest.mark.parametrize(
    ("others", "of", "to"),
    [
        ([], "", "crusoe"),
        ([FULL_CRUSOE], "", "nebius"),
        ([FULL_CRUSOE], "web", None),
        ([FULL_CRUSOE], "job", "nebius"),
        ([FULL_CRUSOE, *FULL_NEBIUS], "", None),
    ],
    ids=["another takes it", "no other takes it", "its own pods failed", "another's pods failed", "no place at all"],
)
def test_a_pod_whose_shape_is_held_off_goes_there_if_no_other_provider_takes_it(
    others: list[Pod], of: str, to: str | None
) -> None:
    plan = look([*others, pod("web", owner="web")], pool_state(hold_offs=(held_shape(of=of),)))
    assert sent_to(plan) == ({"web": to} if to else {})


@pytest.mark.parametrize("unused", [True, False], ids=["yields", "allows places"])
def test_a_workload_that_failed_there_itself_stays_away_although_others_of_its_shape_may_go(unused: bool) -> None:
    hold_offs = (msgspec.structs.replace(held_shape(), unused_place=unused), held_shape(of="web"))
    plan = look([FULL_CRUSOE, pod("web", owner="web"), pod("job", owner="job")], pool_state(hold_offs=hold_offs))
    assert sent_to(plan) == {"job": "nebius"}


@pytest.mark.parametrize(("ready", "reason"), [("Unknown", Reason.NODE_UNKNOWN), ("False", Reason.NODE_NOT_READY)])
def test_a_pod_of_a_dead_node_leaves_in_spite_of_what_pods_of_others_showed(ready: str, reason: Reason) -> None:
    nodes = [unhealthy_node("a1", ready=ready), node("n1"), node("c1")]
    faults = faults_of("a1", reason=reason, since=NOW - 1000)
    state = pool_state(SATURATED, node_faults=faults, unknown_since={"a1": NOW - 1000}, hold_offs=(held_shape(),))
    seen = snapshot(pool(), nodes, [owned("runs", on="a1", ready=True), FULL_CRUSOE])
    assert moved_to(decided(seen, state)) == ({"runs": "nebius"} if ready == "Unknown" else {})


def test_a_pod_of_a_dead_node_leaves_for_a_provider_that_makes_nodes_before_it_tries_an_unused_place() -> None:
    of = pool(provider("aws"), provider("nebius"), provider("crusoe", on_demand=True))
    nodes = [unhealthy_node("a1", ready="Unknown"), node("n1"), node("c1")]
    faults = faults_of("a1", reason=Reason.NODE_UNKNOWN, since=NOW - 1000)
    state = pool_state(SATURATED, node_faults=faults, unknown_since={"a1": NOW - 1000}, hold_offs=(held_shape(),))
    plan = decided(snapshot(of, nodes, [owned("runs", on="a1", ready=True), FULL_CRUSOE]), state)
    assert moved_to(plan) == {"runs": "crusoe"}


@pytest.mark.parametrize(("length", "recorded"), [(36, True), (120, False)])
def test_a_workload_whose_uid_does_not_fit_into_the_status_is_not_held_off(length: int, recorded: bool) -> None:
    late = pod("late", sent=[("nebius", NOW - 70)], unschedulable=True, owner="u" * length)
    watch = watch_of(late)
    watch.see(70, NODES, [HOME, late])
    assert bool(watch.state.recorded.hold_offs) is recorded


def test_pods_of_different_schedulers_are_of_different_shapes() -> None:
    late = pod(
        "late", sent=[("nebius", NOW - 70)], shaped=shaped(1, scheduler="volcano"), unschedulable=True, owner="job"
    )
    watch = watch_of(late)
    watch.see(0, NODES, [HOME, late], schedulers=frozenset({"volcano"}))
    assert [found.reason for found in watch.state.recorded.hold_offs] == [Reason.INSUFFICIENT_CAPACITY]
    seen = snapshot(pool(), NODES, [HOME, pod("web", owner="job")], schedulers=frozenset({"volcano"}))
    assert sent_to(decided(seen, watch.state, NOW + 1)) == {"web": "nebius"}


@pytest.mark.parametrize(
    ("waited", "known", "fields", "reason"),
    [
        (61, (), {}, Reason.SCHEDULER_ABSENT),
        (59, (), {}, None),
        (61, ("volcano",), {}, None),
        (61, ("other",), {}, Reason.SCHEDULER_ABSENT),
        (61, (), {"gated": True}, Reason.GATED),
        (61, (), {"nominated": "n1"}, Reason.NOMINATED),
        (61, (), {"deleting": NOW + 5}, Reason.TERMINATING),
    ],
    ids=["absent", "not for long", "at work", "another is at work", "gated", "nominated", "terminating"],
)
def test_a_pod_waits_for_an_absent_scheduler(
    waited: float, known: tuple[str, ...], fields: dict[str, Any], reason: Reason | None
) -> None:
    mine = pod("mine", shaped=shaped(1, scheduler="volcano"), waited=waited, **fields)
    plan = look([mine], schedulers=frozenset(known))
    assert sent_to(plan) == ({"mine": "nebius"} if reason is None else {})
    assert {hold.reason for hold in plan.holds} == (set() if reason is None else {reason})


def test_an_absent_scheduler_is_noticed_in_time_and_no_new_pod_of_it_is_sent() -> None:
    young = pod("young", shaped=shaped(1, scheduler="volcano"), waited=10)
    assert look([young]).recheck_at == NOW + 50
    old = pod("old", shaped=shaped(1, scheduler="volcano"), waited=70)
    assert sent_to(look([young, old])) == {}


def test_pods_of_an_absent_scheduler_saturate_nothing() -> None:
    mine = pod("mine", 8, shaped=shaped(8, scheduler="volcano"), waited=100)
    plan = decided(snapshot(pool(), [node("a1"), node("n1")], [pod("some", 4, on="a1"), mine]))
    assert plan.assessment.saturation.saturated is False
    assert plan.admission.provider == ""
