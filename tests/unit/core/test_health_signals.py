"""Signals from metrics and the health of providers: a provider fails while a signal is on and known, and a canary is
judged by the same signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from computepool.model.api import BreakerState, ComputePool
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, Samples, SignalData
from computepool.model.snapshot import Snapshot
from computepool.model.state import Breaker, PoolState, restarted
from tests.builders import NOW, changed, node, pod, pool, pool_state, snapshot
from tests.unit.core.passes import Decided, decided

SLOW: Mapping[str, Any] = {
    "name": "slow",
    "query": "ttft",
    "labels": {"pod": "pod", "namespace": "namespace"},
    "enter": "10",
    "exit": "2",
    "sustainSeconds": 30,
    "clearSeconds": 60,
    "maxAgeSeconds": 90,
}
BUSY: Mapping[str, Any] = {**SLOW, "name": "xid", "query": "xid", "labels": {"node": "node"}, "enter": "1", "exit": "0"}
PODS = ("s-0", "s-1", "s-2", "s-3")


def serving(*metrics: Mapping[str, Any], **spec: Any) -> ComputePool:
    health = {
        "metrics": list(metrics or (SLOW,)),
        "clearSeconds": 0,
        "breaker": {"backoffSeconds": 60, "proveSeconds": 15},
        **spec.pop("health", {}),
    }
    return pool(health=health, failover={"runningPods": "Move"}, **spec)


def answers(second: float, values: Mapping[str, float]) -> dict[str, SignalData]:
    """What the source says of pods, of that second: each provider's signal has the same answer."""
    data = SignalData(Answer(NOW + second, pods={f"default/{name}": Samples((at,)) for name, at in values.items()}))
    return {f"health/slow/{provider}": data for provider in ("aws", "nebius", "crusoe")}


def seen(of: ComputePool, second: float, values: Mapping[str, float] | None, **more: Any) -> Snapshot:
    """Four servers on nebius, which work; aws and crusoe have room."""
    pods = [pod(name, on="n1", ready=True, owner="servers", sent=[("nebius", NOW - 600)]) for name in PODS]
    signals = more.pop("signals", {} if values is None else answers(second, values))
    nodes = more.pop("nodes", [node("a1"), node("n1"), node("c1")])
    return snapshot(of, nodes, more.pop("pods", pods), signals=signals, at=NOW + second, **more)


def passes(
    of: ComputePool, *steps: tuple[float, Mapping[str, float] | None], state: PoolState | None = None
) -> Decided:
    """Passes at these seconds after NOW, each with what the source has just answered; return the last."""
    last = None
    for second, values in steps:
        last = decided(seen(of, second, values), state, NOW + second)
        state = last.state
    assert last is not None
    return last


def breaker(found: Decided, provider: str = "nebius") -> Breaker:
    return found.state.breaker(provider)


HIGH, LOW = dict.fromkeys(PODS, 20.0), dict.fromkeys(PODS, 1.0)


def test_a_provider_whose_pods_stay_slow_fails() -> None:
    of = serving()
    assert breaker(passes(of, (0, HIGH), (29, HIGH))).closed
    found = passes(of, (0, HIGH), (15, HIGH), (30, HIGH))
    assert (breaker(found).state, breaker(found).reason) == (BreakerState.OPEN, Reason.METRIC_UNHEALTHY)
    health = found.assessment.health.providers["nebius"]
    assert health.detail == "slow was at 10 or beyond"
    assert set(found.quarantine or ()) == {"n1"}


def test_a_provider_that_is_slow_for_a_moment_does_not() -> None:
    of = serving()
    assert breaker(passes(of, (0, HIGH), (20, LOW), (30, HIGH), (59, HIGH))).closed


@pytest.mark.parametrize("values", [None, {}, {"s-0": 20.0}], ids=["none", "empty", "partial"])
def test_unknown_data_never_opens_a_breaker(values: Mapping[str, float] | None) -> None:
    of = serving()
    assert breaker(passes(of, (0, HIGH), (29, HIGH), (30, values), (300, values))).closed
    # Neither does a signal that an earlier leader knew to be on.
    on = restarted(changed(PoolState(), signals_on=frozenset({"health/slow/nebius"})).recorded)
    assert breaker(passes(of, (0, values), (300, values), state=on)).closed


def test_a_value_between_the_thresholds_ends_no_failure() -> None:
    of = serving()
    opened = passes(of, (0, HIGH), (30, HIGH)).state
    between = dict.fromkeys(PODS, 5.0)
    for second in (60, 120, 300, 600):
        found = decided(seen(of, second, between), opened, NOW + second)
        opened = found.state
    assert breaker(found).state is BreakerState.OPEN
    for second in (601, 661, 663):
        found = decided(seen(of, second, LOW), opened, NOW + second)
        opened = found.state
    assert breaker(found).state is BreakerState.HALF_OPEN


def test_an_answer_that_shows_no_trouble_opens_no_breaker_whatever_was_known_before() -> None:
    of = serving()
    on = restarted(changed(PoolState(), signals_on=frozenset({"health/slow/nebius"})).recorded)
    assert breaker(passes(of, (0, None), (3600, None), (3601, LOW), state=on)).closed


def test_nobody_leaves_once_an_answer_shows_no_trouble() -> None:
    of = serving()
    opened = passes(of, (0, HIGH), (30, HIGH))
    tainted = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1")]
    found = decided(seen(of, 31, LOW, nodes=tainted), opened.state, NOW + 31)
    assert breaker(found).state is BreakerState.OPEN
    assert not found.moves


def test_nobody_comes_home_to_a_primary_whose_health_is_unknown() -> None:
    of = serving()
    home = [pod("s-0", on="a1", ready=True)]
    assert decided(seen(of, 0, None, pods=home)).state.memory.stable_since is None
    assert decided(seen(of, 0, LOW, pods=home)).state.memory.stable_since is not None


@pytest.mark.parametrize("known", [False, True])
def test_nobody_comes_home_as_the_canary_of_a_primary_whose_health_is_unknown(known: bool) -> None:
    of = serving(BUSY, failback={"policy": "WhenStable", "minDwellSeconds": 0})
    half_open = Breaker(BreakerState.HALF_OPEN, Reason.PROVIDER_UNHEALTHY, NOW - 5, failures=1, node="a1")
    found = decided(seen(of, 0, None, signals=errors(0) if known else {}), pool_state(breakers={"aws": half_open}))
    assert len(found.moves) == int(known)
    assert known or {blocked.reason for blocked in found.blocked} == {Reason.NOT_STABLE}


def test_several_providers_that_are_slow_at_once_open_no_breaker() -> None:
    of = serving()
    pods = [
        pod("s-0", on="n1", ready=True),
        pod("s-1", on="a1", ready=True),
    ]
    values = {"s-0": 20.0, "s-1": 20.0}
    state = None
    for second in (0, 30, 60):
        found = decided(seen(of, second, values, pods=pods), state, NOW + second)
        state = found.state
    assert found.assessment.exceeded
    assert breaker(found).closed
    assert breaker(found, "aws").closed


HOMES = {"aws": "a1", "nebius": "n1", "crusoe": "c1"}


def errors(second: float, *sick: str) -> dict[str, SignalData]:
    """What the source says of each provider's node, of that second."""
    return {
        f"health/xid/{name}": SignalData(Answer(NOW + second, nodes={home: Samples((9.0 if name in sick else 0.0,))}))
        for name, home in HOMES.items()
    }


def test_an_exporter_that_breaks_everywhere_moves_nobody_though_providers_are_asked_one_after_the_other() -> None:
    of = serving(BUSY)
    nodes = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1")]
    begins = {"nebius": 0, "crusoe": 8, "aws": 16}
    state = None
    for second in range(0, 90, 2):
        broken = errors(second, *(name for name, begin in begins.items() if second >= begin))
        found = decided(seen(of, second, None, nodes=nodes, signals=broken), state, NOW + second)
        state = found.state
        assert not found.moves
        assert all(breaker(found, name).closed for name in HOMES)
    # A single provider that is sick is none of that.
    for second in (90, 151):
        found = decided(seen(of, second, None, nodes=nodes, signals=errors(second, "nebius")), state, NOW + second)
        state = found.state
    assert breaker(found).reason is Reason.METRIC_UNHEALTHY


def test_running_pods_leave_a_provider_that_metrics_prove_to_fail() -> None:
    of = serving()
    opened = passes(of, (0, HIGH), (30, HIGH))
    tainted = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1")]
    found = decided(seen(of, 31, HIGH, nodes=tainted), opened.state, NOW + 31)
    assert {move.source for move in found.moves} == {"nebius"}


@pytest.mark.parametrize(
    ("edit", "anew"),
    [
        ({"enter": "50"}, True),
        ({"query": "tpot"}, True),
        ({"sustainSeconds": 5}, False),
        ({"maxAgeSeconds": 60}, False),
    ],
    ids=["threshold", "query", "sustain", "age"],
)
def test_a_signal_that_is_edited_begins_anew_and_moves_nobody_for_its_old_threshold(
    edit: dict[str, Any], *, anew: bool
) -> None:
    opened = passes(serving(), (0, HIGH), (30, HIGH))
    tainted = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1")]
    of = serving({**SLOW, **edit})
    found = decided(seen(of, 31, HIGH, nodes=tainted), opened.state, NOW + 31)
    assert bool(found.moves) is not anew
    assert (not found.assessment.signals.health[1].signal.on) is anew


def test_a_signal_that_is_edited_while_the_pool_is_frozen_begins_anew_too() -> None:
    opened = passes(serving(), (0, HIGH), (30, HIGH))
    of = serving({**SLOW, "enter": "50"})
    frozen = decided(seen(of, 31, HIGH, stale="pods are not listed yet"), opened.state, NOW + 31)
    found = decided(seen(of, 32, HIGH), frozen.state, NOW + 32)
    assert not found.assessment.signals.health[1].signal.on


def test_nobody_leaves_once_the_data_is_unknown() -> None:
    of = serving()
    opened = passes(of, (0, HIGH), (30, HIGH))
    tainted = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1")]
    found = decided(seen(of, 200, None, nodes=tainted), opened.state, NOW + 200)
    assert not found.moves


def test_a_breaker_that_a_signal_has_opened_stays_open_while_the_data_is_gone() -> None:
    of = serving()
    state = passes(of, (0, HIGH), (30, HIGH)).state
    for second in range(60, 4_000, 20):
        # A new leader knows it too.
        found = decided(seen(of, second, None), restarted(state.recorded) if second == 2_000 else state, NOW + second)
        state = found.state
        assert breaker(found).state is BreakerState.OPEN
    for second in (4_000, 4_060, 4_061, 4_062):
        found = decided(seen(of, second, LOW), state, NOW + second)
        state = found.state
    assert breaker(found).state is BreakerState.HALF_OPEN


@pytest.mark.parametrize(("values", "held_back"), [(HIGH, True), (None, False)], ids=["known", "unknown"])
def test_a_provider_that_metrics_opened_blocks_no_failover_once_its_data_is_gone(
    values: Mapping[str, float] | None, *, held_back: bool
) -> None:
    of = serving(health={"maxUnhealthyPercent": 50, "sustainSeconds": 0})
    state = passes(of, (0, HIGH), (30, HIGH)).state
    fallen = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1", ready="False")]
    for second in (60, 120, 300):
        found = decided(seen(of, second, values, nodes=fallen), state, NOW + second)
        state = found.state
    assert bool(found.held_back) is held_back
    assert breaker(found, "crusoe").closed is held_back


HALF_OPEN = Breaker(BreakerState.HALF_OPEN, Reason.METRIC_UNHEALTHY, NOW - 5, failures=1, node="n1")


def tried(values: Mapping[str, float] | None, *seconds: float) -> Decided:
    """nebius is half-open, and one new pod is ready there."""
    of = serving()
    state = pool_state(breakers={"nebius": HALF_OPEN})
    canary = [pod("s-0", on="n1", ready=True, created=NOW - 4, sent=[("nebius", NOW - 4)])]
    found = None
    for second in seconds:
        found = decided(seen(of, second, values, pods=canary), state, NOW + second)
        state = found.state
    assert found is not None
    return found


def test_a_canary_that_is_ready_and_quick_closes_the_breaker() -> None:
    assert breaker(tried({"s-0": 1.0}, 0, 10)).state is BreakerState.HALF_OPEN
    assert breaker(tried({"s-0": 1.0}, 0, 10, 15)).closed


def test_a_canary_that_is_ready_and_slow_opens_it_again() -> None:
    assert breaker(tried({"s-0": 20.0}, 0, 15, 29)).state is BreakerState.HALF_OPEN
    again = breaker(tried({"s-0": 20.0}, 0, 15, 30))
    assert (again.state, again.reason, again.failures) == (BreakerState.OPEN, Reason.METRIC_UNHEALTHY, 2)


def test_a_canary_whose_data_is_unknown_proves_nothing() -> None:
    found = breaker(tried(None, 0, 15, 30))
    assert (found.state, found.failures) == (BreakerState.HALF_OPEN, 1)


def test_a_trial_does_not_end_while_a_signal_that_was_on_is_unknown() -> None:
    of = serving()
    on = frozenset({"health/slow/nebius"})
    state = restarted(changed(pool_state(breakers={"nebius": HALF_OPEN}), signals_on=on).recorded)
    for second in range(0, 2_000, 20):
        found = decided(seen(of, second, None), state, NOW + second)
        state = found.state
        assert breaker(found).state is BreakerState.HALF_OPEN


def test_a_provider_that_all_pods_have_left_is_tried_again() -> None:
    """Nobody is there to be slow any more."""
    of = serving()
    state = passes(of, (0, HIGH), (30, HIGH)).state
    for second in (40, 100, 101, 200, 201):
        found = decided(seen(of, second, {}, pods=[]), state, NOW + second)
        state = found.state
    assert breaker(found).state is not BreakerState.OPEN


def test_signals_of_nodes_judge_their_provider() -> None:
    of = serving(BUSY)
    data = SignalData(Answer(NOW, nodes={"n1": Samples((2.0, 1.0)), "a1": Samples((0.0,)), "c1": Samples((0.0,))}))
    signals = {f"health/xid/{provider}": data for provider in ("aws", "nebius", "crusoe")}
    nodes = [node("a1"), node("n1"), node("c1")]
    first = decided(snapshot(of, nodes, [], signals=signals))
    found = decided(snapshot(of, nodes, [], signals=signals), first.state, NOW + 30)
    opened = {name: breaker(found, name).state for name in ("aws", "nebius", "crusoe")}
    assert opened == {"aws": BreakerState.CLOSED, "nebius": BreakerState.OPEN, "crusoe": BreakerState.CLOSED}


def test_the_next_leader_goes_on_with_signals_that_are_on() -> None:
    of = serving()
    found = passes(of, (0, HIGH), (30, HIGH))
    assert found.state.recorded.signals_on == {"health/slow/nebius"}
    after = restarted(found.state.recorded)
    assert breaker(passes(of, (40, HIGH), state=after)).state is BreakerState.OPEN


# -- signals about single nodes

BAD_GPU: Mapping[str, Any] = {**BUSY, "target": "Node"}
NODES = [node("a1"), node("n1"), node("n2"), node("n3"), node("c1")]


def measured(second: float, values: Mapping[str, tuple[float, ...]] | None) -> dict[str, SignalData]:
    """What the source says of nodes, of that second."""
    if values is None:
        return {}
    data = SignalData(Answer(NOW + second, nodes={name: Samples(numbers) for name, numbers in values.items()}))
    return {f"health/xid/{provider}": data for provider in ("aws", "nebius", "crusoe")}


def of_nodes(
    *steps: tuple[float, Mapping[str, tuple[float, ...]] | None], state: PoolState | None = None, **more: Any
) -> Decided:
    of = serving(BAD_GPU)
    pods = [pod("s-0", on="n1", ready=True, owner="servers", sent=[("nebius", NOW - 600)])]
    last = None
    for second, values in steps:
        view = snapshot(of, more.get("nodes", NODES), pods, signals=measured(second, values), at=NOW + second)
        last = decided(view, state, NOW + second)
        state = last.state
    assert last is not None
    return last


ONE_BAD: Mapping[str, tuple[float, ...]] = {"a1": (0.0,), "n1": (0.0, 3.0), "n2": (0.0,), "n3": (0.0,), "c1": (0.0,)}
ALL_WELL = dict.fromkeys(ONE_BAD, (0.0,))


def faults(found: Decided) -> dict[str, Reason]:
    return {name: fault.reason for name, fault in found.assessment.health.nodes.items() if fault.unhealthy}


def test_one_bad_device_makes_its_node_unhealthy_and_no_other() -> None:
    assert faults(of_nodes((0, ONE_BAD), (29, ONE_BAD))) == {}
    found = of_nodes((0, ONE_BAD), (30, ONE_BAD))
    assert faults(found) == {"n1": Reason.METRIC_UNHEALTHY}
    assert breaker(found).closed
    assert found.quarantine is not None
    assert found.quarantine["n1"] is Reason.METRIC_UNHEALTHY


def test_pods_leave_a_node_that_metrics_prove_to_fail() -> None:
    state = of_nodes((0, ONE_BAD), (30, ONE_BAD)).state
    tainted = [node("n1", quarantine="MetricUnhealthy"), *(one for one in NODES if one.name != "n1")]
    found = of_nodes((31, ONE_BAD), state=state, nodes=tainted)
    assert [move.pod.name for move in found.moves] == ["s-0"]


def test_a_node_whose_data_is_gone_stays_out_of_use_and_its_pods_stay() -> None:
    """The exporter often dies with the device."""
    state = of_nodes((0, ONE_BAD), (30, ONE_BAD)).state
    tainted = [node("n1", quarantine="MetricUnhealthy"), *(one for one in NODES if one.name != "n1")]
    silent = {name: values for name, values in ONE_BAD.items() if name != "n1"}
    for second in (60, 200, 4000):
        found = of_nodes((second, silent), state=state, nodes=tainted)
        state = found.state
        assert faults(found) == {"n1": Reason.METRIC_UNHEALTHY}
        assert not found.moves


def test_a_node_that_was_never_measured_is_not_unhealthy() -> None:
    silent = {name: values for name, values in ALL_WELL.items() if name != "n1"}
    assert faults(of_nodes((0, silent), (300, silent), (600, None))) == {}


def test_a_node_recovers_once_its_devices_are_well_for_long_enough() -> None:
    state = of_nodes((0, ONE_BAD), (30, ONE_BAD)).state
    assert faults(of_nodes((60, ALL_WELL), (119, ALL_WELL), state=state)) == {"n1": Reason.METRIC_UNHEALTHY}
    assert faults(of_nodes((60, ALL_WELL), (120, ALL_WELL), (121, ALL_WELL), state=state)) == {}


def test_most_nodes_with_bad_devices_are_a_failure_of_their_provider() -> None:
    two_bad = {**ONE_BAD, "n2": (1.0,)}
    found = of_nodes((0, two_bad), (30, two_bad))
    assert breaker(found).reason is Reason.PROVIDER_UNHEALTHY


def test_nodes_whose_data_is_gone_open_no_breaker_when_others_leave() -> None:
    """Three of five nodes are enough, and three of seven are not."""
    seven = [node("a1"), *(node(f"n{index}") for index in range(7)), node("c1")]
    values = {one.name: (3.0,) if one.name in ("n0", "n1", "n2") else (0.0,) for one in seven}
    before = of_nodes((0, values), (30, values), nodes=seven)
    assert set(faults(before)) == {"n0", "n1", "n2"}
    tainted = [node(one.name, quarantine="MetricUnhealthy") if one.name in faults(before) else one for one in seven]
    left = [one for one in tainted if one.name not in ("n5", "n6")]
    for state in (before.state, None):
        found = of_nodes((300, None), (600, None), state=state, nodes=left)
        assert set(faults(found)) == {"n0", "n1", "n2"}
        assert breaker(found).closed
    # What the data shows counts, and nothing closes the breaker once the data is gone again.
    shown = of_nodes((31, values), state=before.state, nodes=left)
    assert breaker(shown).reason is Reason.PROVIDER_UNHEALTHY
    for second in (200, 400, 4_000):
        shown = of_nodes((second, None), state=shown.state, nodes=left)
        assert breaker(shown).state is BreakerState.OPEN


def test_a_new_leader_knows_by_the_quarantine_which_nodes_were_bad() -> None:
    tainted = [node("n1", quarantine="MetricUnhealthy"), *(one for one in NODES if one.name != "n1")]
    state = None
    for second in (0, 200, 4000):
        found = of_nodes((second, None), state=state, nodes=tainted)
        state = found.state
        assert faults(found) == {"n1": Reason.METRIC_UNHEALTHY}
        assert not found.moves
    assert faults(of_nodes((4001, ALL_WELL), (4062, ALL_WELL), (4063, ALL_WELL), state=state, nodes=tainted)) == {}


def test_the_quarantine_of_a_provider_turns_no_signal_of_its_nodes_on() -> None:
    """All nodes of a provider that a metric has opened carry the same taint as a node with a bad device."""
    of = serving(SLOW, {**BAD_GPU, "name": "hot", "enter": "90", "exit": "50"})
    opened = Breaker(BreakerState.OPEN, Reason.METRIC_UNHEALTHY, NOW)
    state = restarted(pool_state(breakers={"nebius": opened}).recorded)
    nodes = [node("a1"), node("n1", quarantine="MetricUnhealthy"), node("c1")]
    warm = {name: Samples((70.0,)) for name in ("a1", "n1", "c1")}
    for second in (0, 10, 70):
        hot = {f"health/hot/{one}": SignalData(Answer(NOW + second, nodes=warm)) for one in ("aws", "nebius", "crusoe")}
        found = decided(seen(of, second, LOW, nodes=nodes, signals=answers(second, LOW) | hot), state, NOW + second)
        state = found.state
        assert not found.moves
    assert faults(found) == {}


@pytest.mark.parametrize("read", [0.5, 0.0], ids=["between", "exit and between"])
def test_a_quarantine_does_not_tell_the_signal_so_a_value_between_the_thresholds_moves_nobody(read: float) -> None:
    tainted = [node("n1", quarantine="MetricUnhealthy"), *(one for one in NODES if one.name != "n1")]
    state = of_nodes((0, None), nodes=tainted).state
    state = of_nodes((5, {**ALL_WELL, "n1": (read,)}), state=state, nodes=tainted).state
    for second in (10, 20, 90):
        found = of_nodes((second, {**ALL_WELL, "n1": (0.5,)}), state=state, nodes=tainted)
        state = found.state
        assert not found.moves
    assert faults(found) == {}
    # What the signal shows counts.
    shown = of_nodes((0, None), (5, ONE_BAD), nodes=tainted)
    assert [move.pod.name for move in shown.moves] == ["s-0"]


def test_pods_stay_on_a_node_that_reads_well_again() -> None:
    state = of_nodes((0, ONE_BAD), (30, ONE_BAD)).state
    tainted = [node("n1", quarantine="MetricUnhealthy"), *(one for one in NODES if one.name != "n1")]
    assert not of_nodes((31, ALL_WELL), state=state, nodes=tainted).moves


def test_the_states_of_single_nodes_are_not_recorded() -> None:
    found = of_nodes((0, ONE_BAD), (30, ONE_BAD))
    assert found.state.recorded.signals_on == {"health/xid/nebius"}
    assert set(found.state.memory.signals) == {"health/xid/nebius", "health/xid/nebius/n1"}
