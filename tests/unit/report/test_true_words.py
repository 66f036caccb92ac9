"""No message contradicts its status, what was judged, or the mode: over random passes."""

from __future__ import annotations

import re

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from computepool.decide.reconcile import reconcile
from computepool.model.api import Mode
from computepool.model.state import PoolState
from computepool.model.taints import Taint
from computepool.report.conditions import conditions_of
from computepool.report.pass_report import PassReport
from tests.builders import NOW, node, pod, pool, provider, snapshot
from tests.unit.core.clusters import Case, cases
from tests.unit.report.passes import AT, said

CLAIMS = {
    r"at or above allocation.enterPercent \((\d+)\)": int.__ge__,
    r"below allocation.enterPercent \((\d+)\)": int.__lt__,
    r"at or below allocation.exitPercent \((\d+)\)": int.__le__,
    r"above allocation.exitPercent \((\d+)\)": int.__gt__,
}
"""What a message may say of the share, by its words."""
times = st.lists(st.integers(0, 200), min_size=1, max_size=4)


def _assert_true(of: PassReport) -> None:
    status, _, message = said(of, "Saturated")
    percent = re.search(r"(\d+) %", message)
    for words, holds in CLAIMS.items():
        if percent and (found := re.search(words, message)):
            assert holds(int(percent[1]), int(found[1])), message
    assert not (status == "True" and ("not yet for sustainSeconds" in message or "That is below" in message)), message
    assert not (status == "False" and ("still saturated" in message or "not yet for clearSeconds" in message)), message
    drained = {one.name for one in of.snapshot.pool.spec.providers if one.drain}
    status, reason, message = said(of, "Degraded")
    assert reason != "Drained" or any(f"{name} (open)" in message for name in drained), message
    assert (reason == "AllWell") <= (status == "False")
    if of.observed:
        assert not re.search(
            r"(?<!no running pod )\b(is|are) (tried|brought|sent|evicted|moved)\b|(?<!would )\bgets? no new", message
        ), message


@settings(max_examples=60, phases=[Phase.generate])
@given(cases(), times, st.sampled_from(Mode))
def test_what_a_condition_says_follows_from_what_was_judged(case: Case, seconds: list[int], mode: Mode) -> None:
    spec = case.seen.pool.spec.model_copy(update={"mode": mode})
    seen = msgspec.structs.replace(case.seen, pool=case.seen.pool.model_copy(update={"spec": spec}))
    state, now = case.state, NOW
    for elapsed in seconds:
        now += elapsed
        done = reconcile(seen, state, now)
        _assert_true(PassReport(seen, done.assessment, done.plan, done.state))
        state = done.state


def test_in_mode_observe_a_taint_that_no_pod_tolerates_sends_no_pod() -> None:
    of = pool(provider("aws"), provider("nebius"), mode="Observe")
    nodes = [node("a1", of="aws", taints=[Taint("team", "ml", "NoSchedule")]), node("a2", of="aws"), node("n1")]
    seen = snapshot(of, nodes, [pod("waits", created=NOW - 100)])
    done = reconcile(seen, PoolState(), NOW)
    report = PassReport(seen, done.assessment, done.plan, done.state)
    assert said(report, "Degraded")[1] == "PrimaryTaintNotTolerated"
    _assert_true(report)


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 10), st.integers(0, 2)), max_size=6), st.booleans())
def test_a_primary_that_fills_and_empties_is_told_as_it_is(steps: list[tuple[int, int, int]], on_demand: bool) -> None:
    of = pool(provider("aws", on_demand=on_demand), provider("nebius"), sustain=30, clear=60)
    nodes, state, now = [node("a1", 10, of="aws"), node("n1", 4, of="nebius")], None, NOW
    for elapsed, running, waiting in steps:
        now += elapsed
        pods = [pod(f"runs-{index}", on="a1") for index in range(running)]
        pods += [pod(f"waits-{index}", created=now - 100) for index in range(waiting)]
        seen = snapshot(of, nodes, pods, at=now)
        done = reconcile(seen, state or PoolState(), now)
        state = done.state
        report = PassReport(seen, done.assessment, done.plan, done.state)
        _assert_true(report)
        assert conditions_of(report, (), AT)
