"""The forecast of a pool: known only with a window of demand without a gap, it opens admission ahead of time, closes it
again, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.assess.forecast.pool_forecast import HOLD_SECONDS, Forecast
from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.model.codec import decode, encode
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, restarted
from tests.builders import NOW, infos, node, pod, pool, provider, shape, snapshot
from tests.unit.core.passes import Decided, decided

MINUTE = 60.0
WINDOW = 10
ACT = {"mode": "Act", "windowMinutes": WINDOW, "horizonSeconds": 600}
NODES = [node("a1", 32), node("a2", 32), node("n1", 64)]


def forecasting(forecast: dict[str, Any] | None = None, **spec: Any) -> ComputePool:
    """A pool of which nothing but the forecast opens admission while the primary is not full."""
    return pool(pending=3600, sustain=3600, enter=100, forecast=ACT if forecast is None else forecast, **spec)


def running(gpus: int, **fields: Any) -> list[Pod]:
    """So many pods of one accelerator on the primary, and the rest of them on the standby."""
    return [
        pod(f"p{index}", on="a1" if index < 32 else "a2" if index < 64 else "n1", **fields) for index in range(gpus)
    ]


def seen(of: ComputePool, gpus: int, **fields: Any) -> Snapshot:
    return snapshot(of, NODES, running(gpus), **fields)


def minutes(of: ComputePool, demand: Sequence[int], state: PoolState | None = None, begin: float = NOW) -> Decided:
    """A pass a minute with such a demand; return the last."""
    last = None
    for index, gpus in enumerate(demand):
        last = decided(seen(of, gpus), state, begin + index * MINUTE)
        state = last.state
    assert last is not None
    return last


def forecast(found: Decided) -> Forecast:
    return found.assessment.forecast


GROWS = [4 * minute for minute in range(1, 12)]
"""44 of 64 accelerators after eleven minutes: full five minutes later."""
FLAT = [44] * 12


def test_growth_that_fills_the_primary_within_the_horizon_opens_admission_before_it_is_saturated() -> None:
    found = minutes(forecasting(), GROWS)
    assert (forecast(found).reason, found.assessment.saturation.saturated) == (Reason.FORECAST_FULL, False)
    full = forecast(found).full
    assert full is not None
    assert full.likely == 5
    assert found.admission.provider == "nebius"
    assert not found.moves
    assert not found.bursts


def test_growth_that_fills_it_later_opens_nothing() -> None:
    found = minutes(forecasting({**ACT, "horizonSeconds": 240}), GROWS)
    assert (forecast(found).reason, found.admission.provider) == (Reason.PRIMARY_FILLING, "")


@pytest.mark.parametrize("mode", ["Report", "Off"])
def test_only_mode_act_opens_admission(mode: str) -> None:
    found = minutes(forecasting({**ACT, "mode": mode}), GROWS)
    assert found.admission.provider == ""
    assert forecast(found).reason is (Reason.FORECAST_FULL if mode == "Report" else None)
    assert (found.state.memory.demand is None) is (mode == "Off")


@pytest.mark.parametrize("admission", ["Off", "WhenSaturated"])
def test_the_pools_own_limits_on_admission_hold(admission: str) -> None:
    found = minutes(forecasting(admission=admission), GROWS)
    assert bool(found.admission.provider) is (admission != "Off")
    observed = minutes(forecasting(mode="Observe"), GROWS)
    assert observed.admission.provider == ""


def test_a_forecast_is_unknown_until_the_window_is_full() -> None:
    found = minutes(forecasting(), GROWS[:-1])
    assert (forecast(found).reason, forecast(found).full) == (Reason.HISTORY_TOO_SHORT, None)
    assert found.admission.provider == ""


def test_demand_that_stays_is_no_trend() -> None:
    assert forecast(minutes(forecasting(), FLAT)).reason is Reason.NO_TREND


def test_admission_closes_some_minutes_after_the_growth_has_ended_and_does_not_flap() -> None:
    of = forecasting()
    opened = minutes(of, GROWS)
    state, at, was_open, changes = opened.state, NOW + 10 * MINUTE, True, 0
    closed_at = None
    for minute in range(1, 30):
        found = decided(seen(of, 44), state, at + minute * MINUTE)
        state, is_open = found.state, bool(found.admission.provider)
        changes += is_open is not was_open
        if was_open and not is_open:
            closed_at = minute * MINUTE
        was_open = is_open
    assert changes == 1
    assert closed_at is not None
    assert closed_at >= HOLD_SECONDS


def test_admission_stays_open_when_the_primary_is_full_until_saturation_takes_over() -> None:
    found = minutes(forecasting(), [*GROWS, 48, 52, 56, 60, 64])
    assert (forecast(found).reason, found.admission.provider) == (Reason.PRIMARY_FULL, "nebius")


def test_a_restart_forgets_the_forecast_and_closes_what_it_has_opened() -> None:
    of = forecasting()
    opened = minutes(of, GROWS)
    after = decided(seen(of, 44), restarted(opened.state.recorded), NOW + 10 * MINUTE)
    assert (forecast(after).reason, after.admission.provider) == (Reason.HISTORY_TOO_SHORT, "")


PAST = tuple((NOW + index * MINUTE, gpus * 1000) for index, gpus in enumerate(GROWS[:-1]))


def test_after_a_restart_the_forecast_is_known_with_the_past_that_metrics_tell() -> None:
    of = forecasting()
    after = decided(seen(of, 44, past_demand=PAST), None, NOW + 10 * MINUTE)
    assert (forecast(after).reason, after.admission.provider) == (Reason.FORECAST_FULL, "nebius")
    # What was joined once is part of the history.
    later = decided(seen(of, 48), after.state, NOW + 11 * MINUTE)
    assert forecast(later).reason is Reason.FORECAST_FULL


@pytest.mark.parametrize(
    "past",
    [
        (),
        PAST[2:],
        (*PAST[:3], *PAST[7:]),
        PAST[:-4],
        tuple((at + 3600.0, amount) for at, amount in PAST),
    ],
    ids=["none", "begins late", "a gap", "stale", "of the future"],
)
def test_a_past_that_is_missing_partial_or_stale_makes_nothing_known(past: tuple[tuple[float, int], ...]) -> None:
    after = decided(seen(forecasting(), 44, past_demand=past), None, NOW + 10 * MINUTE)
    assert (forecast(after).reason, after.admission.provider) == (Reason.HISTORY_TOO_SHORT, "")


def test_a_view_that_is_stale_for_a_moment_keeps_the_history_and_for_longer_drops_it() -> None:
    of = forecasting()
    opened = minutes(of, GROWS)
    stale = decided(seen(of, 44, stale="the watch is broken"), opened.state, NOW + 10 * MINUTE + 1)
    assert forecast(stale).reason is Reason.PRIMARY_UNKNOWN
    again = decided(seen(of, 46), stale.state, NOW + 11 * MINUTE)
    assert (forecast(again).reason, again.admission.provider) == (Reason.FORECAST_FULL, "nebius")
    late = decided(seen(of, 46), stale.state, NOW + 14 * MINUTE)
    assert (forecast(late).reason, late.admission.provider) == (Reason.HISTORY_TOO_SHORT, "")


def test_minutes_in_which_no_pass_was_made_are_no_history() -> None:
    """The process was stopped, its passes failed, or the clock has jumped."""
    state = minutes(forecasting(), GROWS).state
    soon = decided(seen(forecasting(), 52), state, NOW + 13 * MINUTE)
    assert forecast(soon).reason is Reason.FORECAST_FULL
    late = decided(seen(forecasting(), 60), state, NOW + 14 * MINUTE)
    assert (forecast(late).reason, late.admission.provider) == (Reason.HISTORY_TOO_SHORT, "")


def test_no_forecast_is_made_of_a_primary_that_makes_nodes() -> None:
    of = pool(provider("aws", on_demand=True), provider("nebius"), forecast=ACT)
    assert forecast(minutes(of, GROWS)).reason is Reason.PRIMARY_GROWS


# -- what demand is


def demand(pods: Sequence[Pod], of: ComputePool | None = None, **fields: Any) -> int | None:
    found = forecast(decided(snapshot(of or forecasting(), NODES, pods, **fields)))
    return None if found.demand is None else found.demand // 1000


def test_pods_count_wherever_they_run_or_wait() -> None:
    assert demand([pod("home", 2, on="a1"), pod("away", 4, on="n1"), pod("waits", 8)]) == 14


def test_what_others_hold_on_the_primary_counts_too() -> None:
    of = forecasting()
    others = infos(NODES, [pod("other", 8, on="a1"), pod("elsewhere", 8, on="n1")], owner="another-pool")
    assert demand([pod("own", 2)], of) == 2
    found = forecast(decided(msgspec.structs.replace(snapshot(of, NODES, [pod("own", 2)]), nodes=others)))
    assert found.demand == 10_000


@pytest.mark.parametrize(
    "stranger",
    [
        pod("gated", gated=True),
        pod("leaving", deleting=NOW + 30),
        pod("leaving", on="a1", deleting=NOW + 30),
        pod("daemon", owner_kind="DaemonSet"),
        pod("pinned", on="n1", shaped=shape(1, selector={"computepool.io/provider": "nebius"})),
        pod("pinned", shaped=shape(1, selector={"computepool.io/provider": "nebius"})),
        pod("huge", 1_000_000_000),
    ],
    ids=["gated", "leaves the queue", "leaves its node", "of a node", "runs elsewhere", "waits elsewhere", "huge"],
)
def test_pods_that_the_primary_can_not_or_need_not_take_are_no_demand(stranger: Pod) -> None:
    assert demand([pod("own", 2, on="a1"), stranger]) == 2


# -- the horizon


def ready(name: str, seconds: float, at: float = NOW, on: str = "n1") -> Pod:
    """A pod that became Ready at that time, so many seconds after its creation."""
    return pod(name, on=on, ready=True, ready_since=at, waited=NOW - at + seconds)


def test_the_horizon_is_the_time_in_which_most_pods_became_ready_on_a_standby() -> None:
    of = forecasting({"mode": "Act", "windowMinutes": WINDOW})
    pods = [ready(f"r{index}", 30.0 + 10 * index) for index in range(10)]
    found = decided(snapshot(of, NODES, [*pods, ready("home", 900.0, on="a1"), ready("flaps", 7200.0)]))
    assert (forecast(found).horizon, found.state.recorded.standby_ready_seconds) == (110, 110)
    # They are gone, and the process is another.
    after = decided(snapshot(of, NODES), restarted(found.state.recorded), NOW + MINUTE)
    assert forecast(after).horizon == 110


def test_only_the_last_pods_count_and_each_once() -> None:
    of = forecasting({"mode": "Act", "windowMinutes": WINDOW})
    slow = [ready(f"s{index}", 600.0) for index in range(20)]
    state = decided(snapshot(of, NODES, slow)).state
    for index in range(25):
        at = NOW + (index + 1) * MINUTE
        found = decided(snapshot(of, NODES, [*slow, ready(f"f{index}", 20.0, at)]), state, at)
        state = found.state
    assert len(state.memory.standby_ready) == 20
    assert forecast(found).horizon == 20


def test_a_pod_counts_once_although_the_clock_of_its_node_is_ahead() -> None:
    of, state, ahead = forecasting({"mode": "Act", "windowMinutes": WINDOW}), PoolState(), ready("a", 900.0, NOW + 240)
    for index in range(8):
        view = snapshot(of, NODES, [ahead, ready("b", 30.0, NOW + MINUTE)])
        state = decided(view, state, NOW + index * MINUTE).state
    assert [seconds for _, seconds in state.memory.standby_ready] == [30.0, 900.0]


def test_without_a_measured_time_mode_act_does_nothing_and_says_why() -> None:
    found = minutes(forecasting({"mode": "Act", "windowMinutes": WINDOW}), GROWS)
    assert (forecast(found).reason, found.admission.provider) == (Reason.HORIZON_UNKNOWN, "")
    assert forecast(found).full is not None
    reported = minutes(forecasting({"mode": "Report", "windowMinutes": WINDOW}), GROWS)
    assert forecast(reported).reason is Reason.PRIMARY_FILLING


# -- what always holds

STEPS = st.lists(st.tuples(st.integers(0, 70), st.floats(1.0, 400.0), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=60)
@given(STEPS)
def test_a_forecast_changes_nothing_but_admission_which_it_only_opens(steps: list[tuple[int, float, bool]]) -> None:
    """The same demand, once with the forecast and once without it."""
    acting, plain = forecasting(), forecasting({"mode": "Off"})
    states: tuple[PoolState, PoolState] = (PoolState(), PoolState())
    at = NOW
    for gpus, seconds, stale in steps:
        at += seconds
        why = "the watch is broken" if stale else ""
        with_it = decided(seen(acting, gpus, stale=why), states[0], at)
        without = decided(seen(plain, gpus, stale=why), states[1], at)
        states = (with_it.state, without.state)
        assert with_it.moves == without.moves
        assert with_it.quarantine == without.quarantine
        assert [burst.pod.uid for burst in with_it.bursts] == [burst.pod.uid for burst in without.bursts]
        assert with_it.assessment.saturation == without.assessment.saturation
        if without.admission.provider:
            assert with_it.admission == without.admission
        if with_it.admission != without.admission:
            assert forecast(with_it).opens_admission
            assert forecast(with_it).reason not in (Reason.HISTORY_TOO_SHORT, Reason.PRIMARY_UNKNOWN)


@settings(max_examples=60)
@given(STEPS)
def test_the_history_is_bounded_and_can_be_stored(steps: list[tuple[int, float, bool]]) -> None:
    of, state, at = forecasting(), PoolState(), NOW
    for gpus, seconds, stale in steps:
        at += seconds
        state = decided(seen(of, gpus, stale="broken" if stale else ""), state, at).state
    history = state.memory.demand
    assert history is None or len(history.points) <= WINDOW + 2
    assert decode(encode(state), PoolState) == state
