"""Signals from metrics and saturation: a signal turns on after sustainSeconds and off after clearSeconds. Missing,
stale and partial data is Unknown, which is neither pressure nor relief.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from computepool.model.api import ComputePool
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, Samples, SignalData
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, SignalState, restarted
from tests.builders import NOW, node, pod, pool, snapshot
from tests.unit.core.passes import Decided, decided, sent_to

QUEUE: Mapping[str, Any] = {
    "name": "queue",
    "query": "waiting",
    "labels": {"pod": "pod", "namespace": "namespace"},
    "enter": "5",
    "exit": "1",
    "sustainSeconds": 30,
    "clearSeconds": 120,
    "maxAgeSeconds": 90,
    "coveragePercent": 80,
}
BUSY: Mapping[str, Any] = {**QUEUE, "name": "busy", "query": "busy", "labels": {"node": "node"}}
WHOLE: Mapping[str, Any] = {key: value for key, value in {**QUEUE, "name": "depth"}.items() if key != "labels"}
SERVERS = ("s-0", "s-1", "s-2", "s-3", "s-4")


def serving(*metrics: Mapping[str, Any], **spec: Any) -> ComputePool:
    """A pool with these signals, of which no time but theirs matters."""
    return pool(pending=spec.pop("pending", 3600), metrics=metrics or (QUEUE,), **spec)


def said(values: Mapping[str, float], *, at: float = NOW, age: float = 0.0) -> SignalData:
    """An answer about pods of the namespace default."""
    return SignalData(Answer(at, pods={f"default/{name}": Samples((value,), age) for name, value in values.items()}))


def each(value: float, names: Sequence[str] = SERVERS) -> dict[str, float]:
    """The same value for each."""
    return dict.fromkeys(names, value)


def seen(of: ComputePool, data: SignalData | None, *, key: str = "saturation/queue", **more: Any) -> Snapshot:
    """Five servers on the primary a1, which has three accelerators left; the standby n1 is free."""
    pods = [pod(name, on="a1", ready=True) for name in SERVERS]
    waiting = more.pop("waiting", [])
    signals = {} if data is None else {key: data}
    return snapshot(of, [node("a1"), node("a2", 0), node("n1")], [*pods, *waiting], signals=signals, **more)


def passes(of: ComputePool, *steps: tuple[float, SignalData | None], state: PoolState | None = None) -> Decided:
    """Passes at these seconds after NOW, each with what the source has answered by then; return the last."""
    last = None
    for after, data in steps:
        last = decided(seen(of, data), state, NOW + after)
        state = last.state
    assert last is not None
    return last


def verdict(found: Decided) -> tuple[bool | None, Reason]:
    """Whether the primary is saturated, and why."""
    return found.assessment.saturation.saturated, found.assessment.saturation.reason


def unknown(found: Decided, name: str = "queue") -> Reason | None:
    """Why a signal is Unknown; None if it is known."""
    return found.assessment.signals.saturation[name].reading.unknown


HIGH, LOW = each(9.0), each(0.0)


def at(values: Mapping[str, float], second: float) -> tuple[float, SignalData]:
    """A pass at that second, with an answer of that second."""
    return second, said(values, at=NOW + second)


def test_a_queue_that_stays_long_makes_the_primary_saturated() -> None:
    of = serving()
    assert verdict(passes(of, at(HIGH, 0), at(HIGH, 29))) == (False, Reason.PRIMARY_HAS_ROOM)
    found = passes(of, at(HIGH, 0), at(HIGH, 15), at(HIGH, 30))
    assert verdict(found) == (True, Reason.METRIC_PRESSURE)
    assert found.admission.provider == "nebius"
    assert found.state.recorded.signals_on == {"saturation/queue"}
    assert found.state.recorded.saturated is False


def test_a_queue_that_is_short_again_for_long_enough_ends_it() -> None:
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    assert verdict(passes(of, at(LOW, 60), at(LOW, 179), state=on)) == (True, Reason.METRIC_PRESSURE)
    assert verdict(passes(of, at(LOW, 60), at(LOW, 120), at(LOW, 180), state=on)) == (False, Reason.PRIMARY_HAS_ROOM)


def test_a_value_between_the_thresholds_changes_nothing_and_starts_timers_anew() -> None:
    of = serving()
    between = each(3.0)
    assert verdict(passes(of, at(HIGH, 0), at(between, 20), at(HIGH, 30), at(HIGH, 59)))[0] is False
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    assert verdict(passes(of, at(LOW, 60), at(between, 150), at(LOW, 180), at(LOW, 299), state=on))[0] is True


def test_low_values_turn_a_signal_on_whose_enter_is_below_its_exit() -> None:
    of = serving({**QUEUE, "enter": "1", "exit": "5"})
    assert verdict(passes(of, at(LOW, 0), at(LOW, 30)))[0] is True
    assert verdict(passes(of, at(HIGH, 0), at(HIGH, 30)))[0] is False


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, Reason.NO_ANSWER),
        (SignalData(error="The source is down."), Reason.NO_ANSWER),
        (SignalData(Answer(NOW + 30)), Reason.NO_SERIES),
        (said(each(9.0, ("stranger",)), at=NOW + 30), Reason.NO_SERIES),
        (said(each(9.0, SERVERS[:3]), at=NOW + 30), Reason.TOO_FEW_SERIES),
        (said(HIGH, at=NOW + 30, age=90.0), Reason.NO_SERIES),
        (said(HIGH, at=NOW - 61), Reason.NO_SERIES),
        (said(HIGH, at=NOW + 30, age=-91.0), Reason.NO_SERIES),
        (said(HIGH, at=NOW + 9000), Reason.NO_SERIES),
    ],
    ids=["never", "down", "empty", "of others", "partial", "frozen", "old", "of the future", "clock set back"],
)
def test_what_is_missing_stale_or_partial_is_no_pressure_and_no_relief(data: SignalData | None, why: Reason) -> None:
    of = serving()
    pressing = passes(of, at(HIGH, 0), at(HIGH, 10), (30, data), (60, data))
    assert (unknown(pressing), verdict(pressing)[0]) == (why, False)
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    held = passes(of, (30, data), (3600, data), state=on)
    assert verdict(held) == (True, Reason.METRIC_UNKNOWN)
    # Whenever it knows again, all its time starts anew.
    after = passes(of, at(LOW, 7200), state=held.state)
    assert verdict(after) == (True, Reason.METRIC_PRESSURE)
    assert verdict(passes(of, at(LOW, 7200), at(LOW, 7320), state=held.state))[0] is False


def test_servers_that_fell_silent_are_missed() -> None:
    """The rest looks well, because the servers with the long queues do not speak any more."""
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    quiet = each(0.0, SERVERS[:3])
    found = passes(of, *(at(quiet, second) for second in (60, 180, 600)), state=on)
    assert (unknown(found), verdict(found)[0]) == (Reason.TOO_FEW_SERIES, True)


def test_a_restart_goes_on_with_a_signal_that_was_on() -> None:
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    after = restarted(on.recorded)
    assert verdict(passes(of, at(LOW, 40), at(LOW, 159), state=after))[0] is True
    assert verdict(passes(of, (40, None), (400, None), state=after)) == (True, Reason.METRIC_UNKNOWN)
    assert verdict(passes(of, at(LOW, 40), at(LOW, 160), state=after))[0] is False


def test_a_signal_that_is_gone_from_the_spec_holds_nothing() -> None:
    on = passes(serving(), at(HIGH, 0), at(HIGH, 30)).state
    found = decided(seen(pool(pending=3600), None), on, NOW + 60)
    assert verdict(found) == (False, Reason.PRIMARY_HAS_ROOM)
    assert not found.state.recorded.signals_on


def test_only_pods_on_the_primary_count_unless_the_whole_pool_is_asked_for() -> None:
    pods = [pod("home", on="a1", ready=True), pod("away", on="n1", ready=True)]
    data = said({"home": 9.0, "away": 0.0})
    for where, value in (("Baseline", 9.0), ("Pool", 4.5)):
        of = serving({**QUEUE, "where": where})
        found = decided(snapshot(of, [node("a1"), node("n1")], pods, signals={"saturation/queue": data}))
        assert found.assessment.signals.saturation["queue"].reading.value == value


def test_pods_that_have_not_started_or_are_leaving_need_not_speak() -> None:
    pods = [
        pod("runs", on="a1", ready=True),
        pod("starts", on="a1", ready=False),
        pod("leaves", on="a1", ready=True, deleting=NOW - 5),
    ]
    of = serving()
    found = decided(snapshot(of, [node("a1")], pods, signals={"saturation/queue": said({"runs": 9.0})}))
    reading = found.assessment.signals.saturation["queue"].reading
    assert (reading.expected, reading.sampled, reading.value) == (1, 1, 9.0)


def test_only_pods_that_serve_the_metric_must_speak() -> None:
    pods = [
        pod("server", on="a1", ready=True, labels={"app": "server"}),
        pod("batch", on="a1", ready=True, labels={"app": "batch"}),
    ]
    of = serving({**QUEUE, "podSelector": {"matchLabels": {"app": "server"}}})
    found = decided(snapshot(of, [node("a1")], pods, signals={"saturation/queue": said({"server": 9.0})}))
    reading = found.assessment.signals.saturation["queue"].reading
    assert (reading.expected, reading.sampled, reading.value) == (1, 1, 9.0)


def test_no_pod_to_measure_is_no_pressure_and_ends_what_there_was() -> None:
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    empty = snapshot(of, [node("a1")], [])
    first = decided(empty, on, NOW + 60)
    assert (unknown(first), verdict(first)[0]) == (None, True)
    assert verdict(decided(empty, first.state, NOW + 180)) == (False, Reason.PRIMARY_HAS_ROOM)


def test_signals_of_nodes_count_the_primary_s_nodes() -> None:
    of = serving(BUSY)
    nodes = {"a1": Samples((9.0, 3.0)), "a2": Samples((9.0,)), "n1": Samples((0.0,))}
    found = decided(seen(of, SignalData(Answer(NOW, nodes=nodes)), key="saturation/busy"))
    reading = found.assessment.signals.saturation["busy"].reading
    assert (reading.expected, reading.sampled, reading.value) == (2, 2, 7.0)


def test_series_of_the_whole_pool_need_no_node_and_no_pod() -> None:
    of = serving(WHOLE)
    data = SignalData(Answer(NOW, whole=Samples((4.0, 8.0), 5.0)))
    found = decided(seen(of, data, key="saturation/depth"))
    assert found.assessment.signals.saturation["depth"].reading.value == 6.0
    empty = decided(seen(of, SignalData(Answer(NOW)), key="saturation/depth"))
    assert unknown(empty, "depth") is Reason.NO_SERIES


@pytest.mark.parametrize(("reduce", "value"), [("Max", 40.0), ("Avg", 22.0), ("Sum", 110.0), ("P95", 40.0)])
def test_many_values_become_one(reduce: str, value: float) -> None:
    of = serving({**QUEUE, "reduce": reduce})
    data = said(dict(zip(SERVERS, (10.0, 40.0, 20.0, 30.0, 10.0), strict=True)))
    assert decided(seen(of, data)).assessment.signals.saturation["queue"].reading.value == value


def test_pending_pods_are_sent_at_once_while_a_signal_is_on_but_only_what_does_not_fit_at_home() -> None:
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    waiting = [pod("fits", 1), pod("large", 8)]
    later = seen(of, said(HIGH, at=NOW + 31), waiting=waiting)
    assert sent_to(decided(later, on, NOW + 31)) == {"large": "nebius"}
    assert sent_to(decided(seen(of, said(LOW), waiting=waiting))) == {}


def test_a_signal_whose_data_is_unknown_sends_nobody() -> None:
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    waiting = [pod("large", 8)]
    found = decided(seen(of, None, waiting=waiting), on, NOW + 60)
    assert verdict(found) == (True, Reason.METRIC_UNKNOWN)
    assert sent_to(found) == {}


@pytest.mark.parametrize("value", [0.7, 0.1])
def test_a_value_that_equals_a_threshold_is_there(value: float) -> None:
    of = serving({**QUEUE, "enter": str(value), "exit": "0.05", "sustainSeconds": 0})
    assert verdict(passes(of, at(each(value), 0)))[0] is True


def test_other_reasons_of_saturation_have_their_own_timers() -> None:
    of = serving(pending=0)
    waiting = [pod("large", 8)]
    overflowing = decided(seen(of, said(HIGH), waiting=waiting))
    assert verdict(overflowing) == (True, Reason.PODS_OVERFLOW)
    # The queue turns on meanwhile; when nothing overflows any more, it alone holds.
    later = passes(of, at(HIGH, 30), at(HIGH, 60), at(HIGH, 200), state=overflowing.state)
    assert verdict(later) == (True, Reason.METRIC_PRESSURE)
    assert later.state.recorded.saturated is False


def test_nobody_comes_home_while_a_signal_is_on_or_unknown() -> None:
    of = serving(failback={"policy": "WhenStable", "stableSeconds": 60, "minDwellSeconds": 0})
    for data, stable in ((said(LOW), True), (said(HIGH), True), (None, False)):
        found = decided(seen(of, data))
        assert (found.state.memory.stable_since is not None) is stable
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    assert passes(of, at(HIGH, 60), state=on).state.memory.stable_since is None


def test_a_stale_view_keeps_signals_as_they_were() -> None:
    of = serving()
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    frozen = decided(seen(of, said(LOW, at=NOW + 60), stale="the API server is away"), on, NOW + 60)
    assert frozen.state.recorded.signals_on == {"saturation/queue"}
    assert frozen.state.memory.signals == {"saturation/queue": SignalState(on=True)}


def test_the_pass_says_when_to_look_again() -> None:
    of = serving()
    assert passes(of, at(HIGH, 0)).recheck_at == NOW + 30
    on = passes(of, at(HIGH, 0), at(HIGH, 30)).state
    last = passes(of, at(LOW, 31), state=on)
    assert last.recheck_at is not None
    # Without another answer the samples are too old 90 s later. A pass notices that a tenth of these later at most.
    assert unknown(passes(of, (31 + 89, said(LOW, at=NOW + 31)), state=last.state)) is None
    assert unknown(passes(of, (last.recheck_at - NOW, said(LOW, at=NOW + 31)), state=last.state)) is Reason.NO_SERIES
    assert NOW + 31 + 90 < last.recheck_at <= NOW + 31 + 99


def test_samples_that_become_too_old_one_after_the_other_need_few_passes() -> None:
    of, names = serving(BUSY), [f"a{number}" for number in range(300)]
    # As scrapes of half a minute leave them, while the source is down.
    ages = {name: Samples((0.0,), number / 10) for number, name in enumerate(names)}
    down = SignalData(Answer(NOW, nodes=ages), "no connection.")
    now, looked_at, state = NOW, [], PoolState()
    while now < NOW + 90:
        found = decided(snapshot(of, [node(name) for name in names], signals={"saturation/busy": down}), state, now)
        assert found.recheck_at is not None
        state, now = found.state, found.recheck_at
        looked_at.append(found.assessment.signals.saturation["busy"].reading.sampled)
    assert looked_at[0] == 300
    assert len(looked_at) <= 5
