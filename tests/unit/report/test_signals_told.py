"""What is told of signals from metrics: status, conditions and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from computepool.model.api import PoolStatus, SignalStatus, SignalVerdict
from computepool.model.signals import Answer, Samples, SignalData
from computepool.model.state import PoolState, SignalState, recorded_in
from computepool.report.metrics import Metrics
from computepool.report.pass_report import PassReport
from computepool.report.signals import rounded
from computepool.report.status import status_of
from tests.builders import NOW, changed, pod, pool, pool_state
from tests.unit.report.passes import AT, report_on, said

QUEUE: Mapping[str, Any] = {"name": "queue", "preset": "vllm", "enter": "5", "exit": "1", "sustainSeconds": 0}
BUSY: Mapping[str, Any] = {**QUEUE, "name": "busy", "preset": "dcgm", "enter": "90", "exit": "50"}
SERVERS = [pod("s-0", on="a1", ready=True), pod("s-1", on="a1", ready=True)]
ON = changed(PoolState(), signals_on=frozenset({"saturation/queue"}))


def queue_of(*lengths: float, age: float = 3.0) -> dict[str, Any]:
    """A snapshot's field: what the first servers' queues are."""
    pods = {f"default/s-{index}": Samples((length,), age) for index, length in enumerate(lengths)}
    return {"signals": {"saturation/queue": SignalData(Answer(NOW, pods=pods))}}


def told(seen: dict[str, Any] | None = None, state: PoolState | None = None, **spec: Any) -> PassReport:
    """A pass over a pool with two servers and a signal of their queues."""
    return report_on(pool(metrics=[QUEUE], **spec), pods=SERVERS, seen=seen or {}, state=state or PoolState())


def signals(report: PassReport, before: tuple[SignalStatus, ...] = ()) -> tuple[SignalStatus, ...]:
    return status_of(report, PoolStatus(signals=before), AT).signals


def test_a_pool_without_signals_says_so() -> None:
    report = report_on()
    assert said(report, "SignalsKnown")[:2] == ("True", "NoSignals")
    assert signals(report) == ()


def test_a_signal_has_its_value_its_coverage_and_its_verdict() -> None:
    on = told(queue_of(9.0, 12.0))
    assert signals(on) == (
        SignalStatus(
            key="saturation/queue",
            verdict=SignalVerdict.ON,
            on=True,
            value="10 requests",
            coverage_percent=100,
            age_seconds=60,
        ),
    )
    assert said(on, "SignalsKnown")[:2] == ("True", "SignalsKnown")
    status, reason, message = said(on, "Saturated")
    assert (status, reason) == ("True", "MetricPressure")
    assert message.endswith(" Signals that are on: queue.")
    (off,) = signals(told(queue_of(0.0, 0.0)))
    assert (off.verdict, off.on, off.value) == ("Off", False, "0 requests")


def test_an_unknown_signal_says_what_is_missing_and_what_to_do() -> None:
    (none,) = signals(told())
    assert (none.verdict, none.reason, none.value) == ("Unknown", "NoAnswer", "")
    assert none.message == "The source has not answered yet. `computepool signals POOL` asks the source again."
    (half,) = signals(told(queue_of(9.0)))
    assert (half.reason, half.coverage_percent) == ("TooFewSeries", 50)
    assert half.message.startswith("1 of 2 pods have a current sample. `computepool signals POOL` shows")
    status, reason, message = said(told(queue_of(9.0)), "SignalsKnown")
    assert (status, reason) == ("False", "TooFewSeries")
    assert message.startswith("saturation/queue: 1 of 2 pods have a current sample.")


@pytest.mark.parametrize(
    ("spoke", "message"),
    [
        ((0,), "0 of 100 pods have a current sample."),
        ((1, 4), "Few of 100 pods have a current sample."),
        ((36, 39, 44), "About 40 % of 100 pods have a current sample."),
    ],
)
def test_what_is_missing_of_many_changes_seldom(spoke: tuple[int, ...], message: str) -> None:
    servers = [pod(f"s-{index}", on="a1", ready=True) for index in range(100)]
    for count in spoke:
        report = report_on(pool(metrics=[QUEUE]), pods=servers, seen=queue_of(*[9.0] * count), state=PoolState())
        assert signals(report)[0].message.startswith(message)
        assert said(report, "SignalsKnown")[2].startswith(f"saturation/queue: {message}")


def test_a_signal_that_was_on_stays_on_while_it_is_unknown_and_both_are_told() -> None:
    held = told(state=ON)
    (signal,) = signals(held)
    assert (signal.verdict, signal.on) == ("Unknown", True)
    assert said(held, "Saturated")[:2] == ("True", "MetricUnknown")


def test_every_unknown_signal_is_named() -> None:
    report = report_on(pool(metrics=[QUEUE, BUSY]), pods=SERVERS)
    message = said(report, "SignalsKnown")[2]
    assert "saturation/queue: " in message
    assert "saturation/busy: " in message


def test_a_stale_view_makes_signals_unknown_and_keeps_what_the_status_says() -> None:
    before = signals(told(queue_of(9.0, 9.0)))
    stale = told({**queue_of(0.0, 0.0), "stale": "pods are not listed yet"}, ON)
    assert said(stale, "SignalsKnown")[:2] == ("Unknown", "CacheStale")
    assert signals(stale, before) == before


@pytest.mark.parametrize(("value", "shown"), [(10.5, "10 requests"), (11.0, "10 requests"), (12.0, "12 requests")])
def test_a_value_that_hardly_changes_leaves_the_status_as_it_is(value: float, shown: str) -> None:
    before = signals(told(queue_of(10.0, 10.0)))
    (after,) = signals(told(queue_of(value, value)), before)
    assert after.value == shown


@pytest.mark.parametrize(
    ("before", "age", "shown"),
    [(3.0, 0.0, 60), (3.0, 60.0, 60), (3.0, 61.0, 120), (61.0, 0.5, 120), (130.0, 61.0, 180), (130.0, 59.0, 60)],
)
def test_the_age_is_never_below_the_true_age_and_changes_seldom(before: float, age: float, shown: int) -> None:
    old = {**QUEUE, "maxAgeSeconds": 600}
    earlier = signals(report_on(pool(metrics=[old]), pods=SERVERS, seen=queue_of(9.0, 9.0, age=before)))
    (after,) = signals(report_on(pool(metrics=[old]), pods=SERVERS, seen=queue_of(9.0, 9.0, age=age)), earlier)
    assert after.age_seconds == shown


def test_a_signal_without_a_sample_has_no_age() -> None:
    (none,) = signals(told())
    assert none.age_seconds is None


def test_a_verdict_that_changes_shows_the_value_of_now() -> None:
    before = signals(told(queue_of(4.9, 4.9)))
    (after,) = signals(told(queue_of(5.1, 5.1)), before)
    assert (after.verdict, after.value) == ("On", "5.1 requests")


def test_the_next_leader_reads_back_which_signals_are_on() -> None:
    report = told(queue_of(9.0, 9.0))
    status = status_of(report, PoolStatus(), AT).to_object()
    recorded = recorded_in(pool(metrics=[QUEUE], status=status))
    assert recorded == report.state.recorded
    assert recorded.signals_on == {"saturation/queue"}
    assert recorded.saturated is False


def test_a_pool_that_is_full_as_well_reads_back_both() -> None:
    full = [*SERVERS, *(pod(f"r-{number}", on="a1") for number in range(2))]
    of = pool(metrics=[QUEUE], sustain=0)
    report = report_on(of, pods=full, seen=queue_of(9.0, 9.0), state=PoolState())
    recorded = recorded_in(pool(metrics=[QUEUE], sustain=0, status=status_of(report, PoolStatus(), AT).to_object()))
    assert recorded.saturated is True
    assert recorded.signals_on == {"saturation/queue"}


def test_metrics_show_each_signal_and_forget_it_when_it_is_gone() -> None:
    metrics = Metrics()

    def shown() -> str:
        lines = metrics.render().decode().splitlines()
        return "\n".join(line for line in lines if line.startswith("computepool_signal"))

    metrics.passed(told(queue_of(9.0, 9.0)))
    assert shown() == (
        'computepool_signal_on{pool="inference",signal="saturation/queue"} 1.0\n'
        'computepool_signal_value{pool="inference",signal="saturation/queue"} 9.0\n'
        'computepool_signal_age_seconds{pool="inference",signal="saturation/queue"} 3.0'
    )
    metrics.passed(told())
    assert shown() == 'computepool_signal_on{pool="inference",signal="saturation/queue"} -1.0'
    metrics.passed(report_on())
    assert shown() == ""
    metrics.queried("Timeout", 2.0)
    assert 'computepool_metric_query_errors_total{kind="Timeout"} 1.0' in metrics.render().decode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.00012345, "0.00012"),
        (0.999, "1"),
        (5.15, "5.2"),
        (94.6, "95"),
        (1234.0, "1200"),
        (-3.21, "-3.2"),
        (1e300, "1.0e+300"),
        (-2.34e-9, "-2.3e-09"),
    ],
)
def test_numbers_have_two_significant_digits(value: float, text: str) -> None:
    assert rounded(value) == text


def test_the_timers_of_a_signal_are_in_memory_alone() -> None:
    starting = changed(pool_state(), signals={"saturation/queue": SignalState(since=NOW - 5)})
    sustained = {**QUEUE, "sustainSeconds": 30}
    report = report_on(pool(metrics=[sustained]), pods=SERVERS, seen=queue_of(9.0, 9.0), state=starting)
    assert report.state.memory.signals == {"saturation/queue": SignalState(since=NOW - 5)}
    assert report.state.recorded.signals_on == frozenset()
