"""Pods that the admission policy sent to a standby: each has an event, within the rate, and the pool counts them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from computepool.decide.plan import LabelFix
from computepool.model.api import ComputePool
from computepool.model.reasons import Reason
from computepool.model.taints import Toleration
from computepool.report.admitted_pods import MOST, AdmittedPods, is_admitted
from computepool.report.event_rate import CAPACITY, RETRY_SECONDS, EventRate
from computepool.report.pass_report import PassReport
from tests.builders import NOW, pod, pool, provider, shape
from tests.unit.report.passes import NO_POLICY, report_on
from tests.unit.report.recording import Recording

OF = pool()


def fixes(count: int) -> list[LabelFix]:
    return [fix(f"p{index:04}", tolerates=["nebius"]) for index in range(count)]


def fix(name: str = "own", **fields: Any) -> LabelFix:
    return LabelFix(pod(name, on="n1", created=fields.pop("created", NOW), **fields), "nebius")


def recording() -> Recording:
    """A recorder that has seen admission to nebius open for a minute."""
    t = Recording()
    t.recorder.note_admission(admitting("nebius"), NOW - 60)
    return t


def admitting(standby: str, of: ComputePool = OF, **fields: Any) -> PassReport:
    report = report_on(of, **fields)
    recorded = msgspec.structs.replace(report.state.recorded, admitting=standby)
    return msgspec.structs.replace(report, state=msgspec.structs.replace(report.state, recorded=recorded))


def test_each_admitted_pod_has_one_event_and_the_pool_counts_them() -> None:
    t = recording()
    assert t.recorder.record_admitted(OF, fixes(3))
    assert [t.recorder.record_admitted_pods(OF, NOW) for _ in range(2)] == [None, None]
    about_pods = t.about("Pod")
    assert [event.subject["name"] for event in about_pods] == ["p0000", "p0001", "p0002"]
    assert {(event.reason, event.action, event.warning) for event in about_pods} == {(Reason.ADMITTED, "Burst", False)}
    assert about_pods[0].note == f"Admitted to nebius. {Reason.ADMITTED.help}"
    (event,) = t.about("ComputePool")
    assert event.note == f"3 pod(s) admitted to standbys: 3 to nebius. {Reason.ADMITTED.help}"


@pytest.mark.parametrize(
    ("of", "label"),
    [
        (OF, LabelFix(pod("home", on="a1", created=NOW), "")),
        (OF, fix(sent=[("crusoe", NOW)], tolerates=["nebius"])),
        (OF, fix(allowed=("nebius",), tolerates=["nebius"])),
        (OF, fix(shaped=shape(1, tolerations=[Toleration("", "Exists")]))),
        (OF, fix(tolerates=["nebius"], owner="ds", owner_kind="DaemonSet")),
        (pool(admission="Off"), fix(tolerates=["nebius"])),
        (pool(provider("aws"), provider("nebius", max_accelerators=8)), fix(tolerates=["nebius"])),
        (pool(provider("aws"), provider("nebius", price="1"), budget={"perDay": "9"}), fix(tolerates=["nebius"])),
        (OF, LabelFix(fix(tolerates=["nebius"]).pod, "gone")),
    ],
    ids=[
        "home",
        "sent by an offer",
        "an allow-list",
        "tolerates everything",
        "of a DaemonSet",
        "admission is off",
        "a limit",
        "a budget",
        "no provider",
    ],
)
def test_a_pod_that_admission_can_not_have_sent_has_no_event(of: ComputePool, label: LabelFix) -> None:
    t = recording()
    assert not is_admitted(of, label)
    assert not t.recorder.record_admitted(of, [label])
    assert t.recorder.record_admitted_pods(of, NOW) is None
    assert t.events == []


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([], ""),
        (["", "nebius"], "after last"),
        (["nebius"], "between after last"),
        (["nebius", "nebius"], "between after last"),
        (["nebius", ""], "between"),
        (["nebius", "crusoe"], "between"),
        (["nebius", "crusoe", "nebius"], "last"),
    ],
)
def test_a_pod_is_told_only_if_admission_was_seen_to_be_open_when_it_was_created(seen: list[str], told: str) -> None:
    t = Recording()
    for index, standby in enumerate(seen):
        t.recorder.note_admission(admitting(standby), NOW + 20 * index)
    times = {"before": -10, "between": 10, "after": 30, "last": 50}
    made = {name: fix(name, created=NOW + at, tolerates=["nebius"]) for name, at in times.items()}
    assert {name for name, label in made.items() if t.recorder.record_admitted(OF, [label])} == set(told.split())


@pytest.mark.parametrize(
    "report",
    [admitting("nebius", pool(mode="Observe")), admitting("nebius", gaps=NO_POLICY)],
    ids=["observed", "no policy"],
)
def test_without_a_policy_that_acts_no_pod_is_admitted(report: PassReport) -> None:
    t = Recording()
    t.recorder.note_admission(report, NOW - 60)
    assert not t.recorder.record_admitted(OF, fixes(1))


def test_of_very_many_pods_the_last_are_told_and_no_pool_takes_the_whole_rate() -> None:
    admitted = AdmittedPods(EventRate())
    admitted.note_admission("inference", "nebius", NOW)
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
    t = recording()
    assert t.recorder.record_admitted(OF, fixes(3))
    assert not t.recorder.record_admitted(OF, fixes(2))
    t.recorder.record_admitted_pods(OF, NOW)
    assert len(t.about("Pod")) == 3
    assert [event.note.split()[0] for event in t.about("ComputePool")] == ["3"]


def test_a_pool_that_is_gone_tells_nothing() -> None:
    t = recording()
    t.recorder.record_admitted(OF, fixes(1))
    t.recorder.forget(OF.name)
    assert t.recorder.record_admitted_pods(OF, NOW) is None
