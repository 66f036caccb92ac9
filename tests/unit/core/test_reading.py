"""What a signal reads is the same however it is worked out: over all samples at once, and over each by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from statistics import fmean
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.signals.reading import Reading, Side, reading_of, side_of
from computepool.model.api import MetricSignal
from computepool.model.presets import reads_of
from computepool.model.reasons import Reason
from computepool.model.signals import Answer, Samples, SignalData
from tests.builders import NOW

NAMES = tuple(f"a{number}" for number in range(20))
AGES = st.sampled_from([-100.0, -90.0, -89.0, -5.0, 0.0, 30.0, 59.0, 60.0, 89.0, 90.0, 500.0])
SAMPLES = st.builds(Samples, st.lists(st.integers(0, 9).map(float), min_size=1, max_size=3).map(tuple), AGES)
ANSWERS = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), SAMPLES),
    # Mostly, all speak.
    st.fixed_dictionaries(dict.fromkeys(NAMES, SAMPLES)),
    st.fixed_dictionaries(dict.fromkeys(NAMES, st.builds(Samples, st.just((3.0,)), st.floats(0.0, 59.0)))),
)


def signal(reduce: str, coverage: int) -> MetricSignal:
    spec: Mapping[str, Any] = {"name": "busy", "query": "busy", "labels": {"node": "node"}, "enter": "5", "exit": "1"}
    return MetricSignal.model_validate({**spec, "reduce": reduce, "coveragePercent": coverage, "maxAgeSeconds": 90})


def one_by_one(metric: MetricSignal, nodes: Mapping[str, Samples], names: tuple[str, ...], since: float) -> Reading:
    """The same by the words of the documents."""
    counting = [
        nodes[name]
        for name in names
        if name in nodes and nodes[name].age > -90 and max(nodes[name].age, 0) + abs(since) < 90
    ]
    if not names:
        return Reading(Side.EXIT)
    age = max((max(found.age, 0) + abs(since) for found in counting), default=None)
    if not counting or len(counting) / len(names) < metric.coverage_percent / 100:
        reason = Reason.TOO_FEW_SERIES if counting else Reason.NO_SERIES
        return Reading(unknown=reason, expected=len(names), sampled=len(counting), age=age)
    values = sorted(value for found in counting for value in found.values)
    reduced = {
        "Max": values[-1],
        "Avg": fmean(values),
        "Sum": sum(values),
        "P95": values[ceil(0.95 * len(values)) - 1],
    }
    value = reduced[str(metric.reduce)]
    return Reading(side_of(metric, value), value, expected=len(names), sampled=len(counting), age=age)


@given(
    ANSWERS,
    st.lists(st.sampled_from(NAMES), unique=True).map(tuple) | st.just(NAMES),
    st.sampled_from(["Max", "Avg", "Sum", "P95"]),
    st.sampled_from([1, 50, 80, 100]),
    st.lists(st.sampled_from([-1000.0, 0.0, 1.0, 30.0, 31.0, 89.0, 90.0]), min_size=1, max_size=3),
)
def test_a_reading_of_many_is_that_of_each(
    nodes: dict[str, Samples], names: tuple[str, ...], reduce: str, coverage: int, moments: list[float]
) -> None:
    metric = signal(reduce, coverage)
    data = SignalData(Answer(NOW, nodes=nodes))
    # The same answer is read several times, as passes do until the next comes.
    for since in moments:
        found = reading_of(metric, reads_of(metric), data, names, NOW + since)
        expected = one_by_one(metric, nodes, names, since)
        assert (found.value is None) == (expected.value is None)
        if found.value is not None and expected.value is not None:
            assert abs(found.value - expected.value) < 1e-9
        plain = (found.side, found.unknown, found.expected, found.sampled, found.age)
        assert plain == (expected.side, expected.unknown, expected.expected, expected.sampled, expected.age)


def test_what_follows_from_an_answer_is_worked_out_once_and_for_each_key() -> None:
    answer, worked_out = Answer(NOW), list[str]()

    def note(text: str) -> str:
        worked_out.append(text)
        return text

    assert [answer.once(key, partial(note, key)) for key in ("a", "b", "a")] == ["a", "b", "a"]
    assert worked_out == ["a", "b"]
    assert answer == Answer(NOW)


def test_an_answer_that_stays_for_long_remembers_only_so_much() -> None:
    answer = Answer(NOW)
    made: list[list[int]] = [answer.once(number, partial(list, (number,))) for number in range(1_000)]
    assert [found[0] for found in made] == list(range(1_000))
    assert answer.once(0, lambda: [-1]) == [-1]
