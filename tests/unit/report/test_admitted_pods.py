"""Pods that the admission policy sent to a standby: each has an event, within the rate, and the pool counts them."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.decide.plan import LabelFix
from computepool.model.api import ComputePool
from computepool.model.reasons import Reason
from computepool.report.admitted_pods import MOST, AdmittedPods, is_admitted
from computepool.report.event_rate import CAPACITY, RETRY_SECONDS, EventRate
from tests.builders import NOW, pod, pool, provider
from tests.unit.report.recording import Recording

OF = pool()


def fixes(count: int) -> list[LabelFix]:
    return [LabelFix(pod(f"p{index:04}", on="n1", tolerates=["nebius"]), "nebius") for index in range(count)]


def test_each_admitted_pod_has_one_event_and_the_pool_counts_them() -> None:
    t = Recording()
    assert t.recorder.record_admitted(OF, fixes(3))
    assert [t.recorder.record_admitted_pods(OF, NOW) for _ in range(2)] == [None, None]
    about_pods = t.about("Pod")
    assert [event.subject["name"] for event in about_pods] == ["p0000", "p0001", "p0002"]
    assert {(event.reason, event.action, event.warning) for event in about_pods} == {(Reason.ADMITTED, "Burst", False)}
    assert about_pods[0].note == f"Admitted to nebius. {Reason.ADMITTED.help}"
    (event,) = t.about("ComputePool")
    assert event.note == f"3 pod(s) admitted to standbys: 3 to nebius. {Reason.ADMITTED.help}"


@pytest.mark.parametrize(
    ("of", "fix"),
    [
        (OF, LabelFix(pod("home", on="a1"), "")),
        (OF, LabelFix(pod("sent", on="n1", sent=[("crusoe", NOW)]), "nebius")),
        (OF, LabelFix(pod("lists", on="n1", allowed=("nebius",)), "nebius")),
        (pool(admission="Off"), LabelFix(pod("own", on="n1"), "nebius")),
        (pool(provider("aws"), provider("nebius", max_accelerators=8)), LabelFix(pod("own", on="n1"), "nebius")),
        (
            pool(provider("aws"), provider("nebius", price="1"), budget={"perDay": "9"}),
            LabelFix(pod("own", on="n1"), "nebius"),
        ),
        (OF, LabelFix(pod("own", on="n1"), "gone")),
    ],
    ids=["home", "sent by an offer", "an allow-list", "admission is off", "a limit", "a budget", "no provider"],
)
def test_a_pod_that_admission_can_not_have_sent_has_no_event(of: ComputePool, fix: LabelFix) -> None:
    t = Recording()
    assert not is_admitted(of, fix)
    assert not t.recorder.record_admitted(of, [fix])
    assert t.recorder.record_admitted_pods(of, NOW) is None
    assert t.events == []


def test_of_very_many_pods_the_last_are_told_and_no_pool_takes_the_whole_rate() -> None:
    admitted = AdmittedPods(EventRate())
    admitted.add(OF, fixes(MOST + 10))
    told: list[Any] = []
    now = NOW
    first, recheck_at = admitted.news("inference", now)
    assert (len(first), recheck_at) == (CAPACITY / 2, NOW + RETRY_SECONDS)
    told += first
    while recheck_at is not None:
        now = recheck_at
        more, recheck_at = admitted.news("inference", now)
        told += more
    assert [fix.pod.name for fix in told] == [f"p{index:04}" for index in range(10, MOST + 10)]


def test_a_label_that_is_corrected_twice_tells_of_its_pod_once() -> None:
    t = Recording()
    assert t.recorder.record_admitted(OF, fixes(3))
    assert not t.recorder.record_admitted(OF, fixes(2))
    t.recorder.record_admitted_pods(OF, NOW)
    assert len(t.about("Pod")) == 3
    assert [event.note.split()[0] for event in t.about("ComputePool")] == ["3"]


def test_a_pool_that_is_gone_tells_nothing() -> None:
    t = Recording()
    t.recorder.record_admitted(OF, fixes(1))
    t.recorder.forget(OF.name)
    assert t.recorder.record_admitted_pods(OF, NOW) is None
