"""Which waiting pods are told, when, how often, and how many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.report.event_rate import CAPACITY, PER_SECOND, RETRY_SECONDS, EventRate
from computepool.report.pass_report import PassReport
from computepool.report.waiting_pods import SETTLED_SECONDS, WaitingPods
from tests.builders import MINUTE, NOW, node, pod, pool, pool_state, provider, shape
from tests.unit.core.moving import opened
from tests.unit.report.passes import report_on
from tests.unit.report.recording import Recording

NODES = [node("a1", 2), node("n1", 4)]
FULL = (pod("a", 2, on="a1"), pod("n", 4, on="n1"))
OF = pool(provider("aws"), provider("nebius"))
LATER = NOW + SETTLED_SECONDS


def report(*pods: Pod, beside: Sequence[Pod] = FULL, now: float = NOW, of: Any = OF, **options: Any) -> PassReport:
    return report_on(of, NODES, [*beside, *pods], now=now, **options)


class Telling:
    """Passes one after another, and whom they tell."""

    def __init__(self) -> None:
        self.waiting = WaitingPods(EventRate())
        self.keys: list[str] = []

    def at(self, now: float, *pods: Pod, **options: Any) -> list[str]:
        news = self.waiting.news(report(*pods, now=now, **options), now)
        self.keys += [key for _, key in news.waits]
        return [hold.pod.name for hold, _ in news.waits]


def test_a_pod_is_told_once_its_reason_has_stood_for_a_moment() -> None:
    told, waiting = Telling(), pod("w")
    first = told.waiting.news(report(waiting), NOW)
    assert (first.waits, first.recheck_at) == ((), LATER)
    assert told.at(LATER, waiting) == ["w"]
    assert told.at(LATER + 1, waiting) == []
    assert told.at(LATER + 3600, waiting) == []


def test_a_pod_that_waits_for_less_than_pending_seconds_is_told_nothing() -> None:
    told, young = Telling(), pod("w", waited=2)
    of = pool(provider("aws"), provider("nebius"), pending=0)
    news = told.waiting.news(report(young, of=of), NOW)
    assert (news.waits, news.recheck_at) == ((), NOW + 3)
    assert told.at(NOW + 2.9, young, of=of) == []
    assert told.at(NOW + 3, young, of=of) == ["w"]


def test_another_reason_is_told_once_more_and_with_another_key() -> None:
    told, waiting = Telling(), pod("w")
    drained = {"state": pool_state(breakers={"nebius": opened()})}
    told.at(NOW, waiting)
    assert told.at(LATER, waiting) == ["w"]
    assert told.at(LATER + 10, waiting, **drained) == []
    assert told.at(LATER + 20, waiting, **drained) == ["w"]
    told.at(LATER + 30, waiting)
    assert told.at(LATER + 40, waiting) == ["w"]
    assert len(set(told.keys)) == 3


def test_a_reason_that_changes_for_a_moment_only_is_not_told() -> None:
    told, waiting = Telling(), pod("w")
    told.at(NOW, waiting)
    told.at(LATER, waiting)
    assert told.at(LATER + 10, waiting, state=pool_state(breakers={"nebius": opened()})) == []
    assert told.at(LATER + 11, waiting) == []
    assert told.at(LATER + 60, waiting) == []


def test_a_pod_that_was_sent_and_is_back_is_not_told_the_same_again() -> None:
    told, waiting = Telling(), pod("w")
    told.at(NOW, waiting)
    told.at(LATER, waiting)
    assert told.at(LATER + 1, waiting, beside=FULL[:1]) == []
    assert told.at(LATER + 60, waiting) == []


def test_what_was_told_is_forgotten_with_the_pod_and_with_the_pool() -> None:
    told, waiting = Telling(), pod("w")
    told.at(NOW, waiting)
    told.at(LATER, waiting)
    told.at(LATER + 1)
    told.at(LATER + 2, waiting)
    assert told.at(LATER + 2 + SETTLED_SECONDS, waiting) == ["w"]
    told.waiting.forget(OF.name)
    told.at(LATER + 100, waiting)
    assert told.at(LATER + 100 + SETTLED_SECONDS, waiting) == ["w"]


def test_the_next_process_names_the_same_events() -> None:
    keys = []
    for began in (NOW, NOW + 1000):
        told = Telling()
        told.at(began, pod("w"))
        told.at(began + SETTLED_SECONDS, pod("w"))
        keys.append(told.keys)
    assert keys[0] == keys[1]
    assert len(keys[0]) == 1


def test_a_view_that_is_not_current_tells_nothing_and_forgets_nothing() -> None:
    told, waiting = Telling(), pod("w")
    told.at(NOW, waiting)
    told.at(LATER, waiting)
    assert told.at(LATER + 1, waiting, seen={"stale": "pods are not listed yet"}) == []
    assert told.at(LATER + 10, waiting) == []


def test_pods_that_are_gated_or_end_or_fit_or_were_sent_are_told_nothing() -> None:
    told = Telling()
    pods = [pod("gated", gated=True), pod("ending", deleting=NOW + 100), pod("sent", sent=[("nebius", NOW)])]
    told.at(NOW, *pods, beside=FULL[:1])
    assert told.at(LATER, *pods, beside=FULL[:1]) == []


def test_a_pod_of_a_single_node_is_told_after_the_time_that_a_node_is_given() -> None:
    told = Telling()
    agent = pod("agent", shaped=shape(1, selector={"kubernetes.io/hostname": "a1"}), waited=30)
    told.at(NOW, agent)
    assert told.at(NOW + 20, agent) == []
    assert told.at(NOW + 30, agent) == ["agent"]


def test_the_most_important_pods_come_first_and_then_the_oldest_within_the_rate() -> None:
    told = Telling()
    pods = [pod(f"p{index:03}", waited=MINUTE + index) for index in range(300)]
    urgent = pod("urgent", priority=9, waited=MINUTE)
    told.at(NOW, *pods, urgent)
    news = told.waiting.news(report(*pods, urgent, now=LATER), LATER)
    first = [hold.pod.name for hold, _ in news.waits]
    assert first == ["urgent", *(f"p{index:03}" for index in range(299, 299 - 49, -1))]
    assert (news.left_out, news.recheck_at) == (251, LATER + RETRY_SECONDS)
    told_later: list[str] = []
    now = LATER
    for _ in range(12):
        now += RETRY_SECONDS
        told_later += told.at(now, *pods, urgent)
    assert sorted([*first, *told_later]) == sorted([*(f"p{index:03}" for index in range(300)), "urgent"])


def test_the_rate_bounds_what_all_pools_send_and_no_pool_takes_all() -> None:
    rate = EventRate()
    taken = [rate.take(10_000, NOW) for _ in range(50)]
    assert taken[0] == CAPACITY / 2
    assert sum(taken) == CAPACITY
    assert rate.take(10_000, NOW - 5) == 0
    assert rate.take(10_000, NOW + 5) <= PER_SECOND * 10
    minute = sum(rate.take(10_000, NOW + 100 + second) for second in range(60))
    assert minute <= CAPACITY + 60 * PER_SECOND


def test_each_pod_has_an_event_and_the_pool_says_how_many_more_wait() -> None:
    t = Recording()
    pods = [pod(f"p{index:03}") for index in range(280)]
    t.recorder.record_waiting(report(*pods), NOW)
    assert t.recorder.record_waiting(report(*pods, now=LATER), LATER) == LATER + RETRY_SECONDS
    about_pods = t.about("Pod")
    assert {(event.reason, event.action, event.warning) for event in about_pods} == {(Reason.NO_ROOM, "Wait", True)}
    assert len(about_pods) == CAPACITY / 2
    assert all(event.key for event in about_pods)
    (event,) = t.about("ComputePool")
    assert (event.reason, event.note.split(",")[0]) == (Reason.PODS_WAITING, "about 200 more pods wait")


def test_in_mode_observe_the_event_says_so() -> None:
    t = Recording()
    of = pool(provider("aws"), provider("nebius"), mode="Observe")
    t.recorder.record_waiting(report(pod("w"), of=of), NOW)
    t.recorder.record_waiting(report(pod("w"), of=of, now=LATER), LATER)
    (event,) = t.about("Pod")
    assert event.note.startswith("Observe: No provider of the pool can take the pod now.")
