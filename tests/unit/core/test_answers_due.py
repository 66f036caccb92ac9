"""An answer that may change a verdict is read by a pass at once, and any other one later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.signals.answers_due import answers_due
from computepool.assess.signals.pool_signals import Signals
from computepool.model.api import ComputePool
from computepool.model.signals import Answer, Samples, SignalData
from computepool.model.state import PoolState
from tests.builders import NOW, node, pod, pool, snapshot
from tests.unit.core.passes import decided

SIGNAL: Mapping[str, Any] = {"name": "busy", "query": "busy", "labels": {"node": "node"}, "enter": "5", "exit": "1"}
XID: Mapping[str, Any] = {**SIGNAL, "name": "xid", "target": "Node", "sustainSeconds": 0}
SHOWN = 15.0
KEYS = ("saturation/busy", "health/slow/aws", "health/xid/aws", "health/slow/nebius", "health/xid/nebius")
NODES = ("a1", "a2", "n1")


def said(values: Mapping[str, float], *, at: float = NOW, age: float = 0.0, error: str = "") -> SignalData:
    return SignalData(Answer(at, nodes={name: Samples((value,), age) for name, value in values.items()}), error)


def of_all(data: SignalData) -> dict[str, SignalData]:
    return dict.fromkeys(KEYS, data)


POOL = pool(metrics=[SIGNAL], health={"metrics": [{**SIGNAL, "name": "slow", "target": "Provider"}, XID]})
CALM = dict.fromkeys(NODES, 0.0)


def verdicts(data: Mapping[str, SignalData], now: float = NOW, state: PoolState | None = None) -> Signals:
    """Those of a pass that reads these answers."""
    pods = [pod(f"p-{name}", on=name, ready=True) for name in NODES]
    seen = snapshot(POOL, [*map(node, NODES), node("c1", 0)], pods, signals=data)
    return decided(seen, state, now).assessment.signals


def due(data: Mapping[str, SignalData], last: Signals | None = None, of: ComputePool = POOL, after: float = 1) -> float:
    """In how many seconds a pass must read the answers."""
    known = verdicts(of_all(said(CALM))) if last is None else last
    return answers_due(known, of, data, NOW + after, SHOWN) - (NOW + after)


def test_an_answer_that_changes_no_verdict_waits() -> None:
    assert due(of_all(said({**CALM, "a1": 0.5}, at=NOW + 1))) == SHOWN
    assert due(of_all(said(CALM, error="no connection."))) == SHOWN


@pytest.mark.parametrize(
    "data",
    [
        said(dict.fromkeys(NODES, 3.0)),
        said(dict.fromkeys(NODES, 9.0)),
        said({"a1": 0.0, "n1": 0.0}),
        said({}),
        said(CALM, age=90.0),
        SignalData(error="no connection."),
    ],
    ids=["between", "at enter", "too few", "none", "too old", "no answer"],
)
@pytest.mark.parametrize("key", KEYS[:2])
def test_an_answer_that_changes_a_reading_does_not(key: str, data: SignalData) -> None:
    assert due({**of_all(said(CALM)), key: data}) == 0


@pytest.mark.parametrize(("value", "seconds"), [(9.0, 0.0), (5.0, 0.0), (4.9, SHOWN)])
def test_a_node_that_may_turn_unhealthy_is_looked_at_at_once(value: float, seconds: float) -> None:
    # Of a signal whose reduced value stays between its thresholds.
    before = said({**CALM, "a1": 3.0})
    last = verdicts(of_all(before))
    assert due({**of_all(before), "health/xid/aws": said({**CALM, "a1": value})}, last) == seconds
    # A node of another provider.
    assert due({**of_all(said(CALM)), "health/xid/nebius": said({**CALM, "a1": value})}) == SHOWN


def test_while_a_node_is_unhealthy_each_answer_about_it_is_looked_at_at_once() -> None:
    data = {**of_all(said(CALM)), "health/xid/nebius": said({**CALM, "n1": 9.0})}
    last = verdicts(data)
    assert last.nodes.keys() == {"n1"}
    assert due(data, last) == 0


def test_a_node_that_begins_to_recover_is_looked_at_at_once_though_another_still_has_not() -> None:
    bad, between, better = ({**CALM, "a1": value, "a2": other} for value, other in ((9, 9), (3, 3), (3, 0)))
    state = first = None
    for values in (bad, between):
        signals = {**of_all(said(CALM)), "health/xid/aws": said(values)}
        found = decided(snapshot(POOL, [*map(node, NODES), node("c1", 0)], signals=signals), state, NOW)
        state, first = found.state, found.assessment.signals
    assert first is not None
    assert first.nodes.keys() == {"a1", "a2"}
    assert due({**of_all(said(CALM)), "health/xid/aws": said(better)}, first) == 0


def test_samples_that_will_be_too_old_are_looked_at_then() -> None:
    assert 4 <= due(of_all(said(CALM, at=NOW + 1, age=86.0))) <= 4 + 9
    assert due(of_all(said(CALM, at=NOW + 1, age=30.0))) == SHOWN


def test_a_signal_without_a_verdict_is_looked_at_at_once() -> None:
    more = pool(metrics=[SIGNAL, {**SIGNAL, "name": "other"}], health={"metrics": [XID]})
    assert due(of_all(said(CALM)), of=more) == 0
    assert due(of_all(said(CALM)), Signals()) == 0


SAID = st.one_of(
    st.builds(SignalData),
    st.builds(
        said,
        st.dictionaries(st.sampled_from(NODES), st.sampled_from([0.0, 1.0, 3.0, 5.0, 9.0])),
        at=st.sampled_from([NOW - 80, NOW]),
        age=st.sampled_from([0.0, 20.0, 89.0]),
    ),
)
ANSWERS = st.fixed_dictionaries(dict.fromkeys(KEYS, SAID))


@given(ANSWERS, ANSWERS, st.sampled_from([0.0, 1.0, 5.0]))
def test_what_waits_would_change_no_verdict(
    before: dict[str, SignalData], after: dict[str, SignalData], seconds: float
) -> None:
    pods = [pod(f"p-{name}", on=name, ready=True) for name in NODES]
    nodes = [*map(node, NODES), node("c1", 0)]
    first = decided(snapshot(POOL, nodes, pods, signals=before), PoolState(), NOW)
    last, now = first.assessment.signals, NOW + seconds
    if answers_due(last, POOL, after, now, SHOWN) == now or (first.recheck_at or now + 1) <= now:
        return
    found = decided(snapshot(POOL, nodes, pods, signals=after), first.state, now).assessment.signals
    assert (found.recorded, found.nodes, found.states) == (last.recorded, last.nodes, last.states)
    assert [signal.known for signal in found.saturation.values()] == [
        signal.known for signal in last.saturation.values()
    ]
    for provider in ("aws", "nebius", "crusoe"):
        assert found.of_provider(provider) == last.of_provider(provider)
        assert found.keeps_away(provider) == last.keeps_away(provider)
