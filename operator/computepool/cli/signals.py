"""`computepool signals POOL`: each query of a pool, asked once, and the series of its answer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, TypeVar

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from computepool.assess.signals.reading import Side
from computepool.cli.cluster_view import NotFoundError, View, load_view
from computepool.cli.console import make_table, print_data, print_table
from computepool.cli.options import Output
from computepool.decide.reconcile import reconcile
from computepool.model.api import ComputePool, MetricSignal
from computepool.model.presets import Scope, reads_of, reduce_of
from computepool.model.reasons import Reason
from computepool.model.signals import SignalData, signal_key
from computepool.model.state import recorded_in, restarted
from computepool.model.text import printable
from computepool.observe.signal_answers import Sorted, answer_of
from computepool.observe.signal_poller import Question, ask, question_of, signals_of
from computepool.prometheus.client import PrometheusClient
from computepool.prometheus.errors import SourceError
from computepool.prometheus.query_rules import QueryError
from computepool.prometheus.source import Source
from computepool.report.formatting import counted, span
from computepool.report.signals import Told, rounded, told_of

SHOWN_SERIES: Final = 10
"""How many series of each kind are printed, unless all are asked for."""
OTHER_NODE: Final = "a node of another provider"
OTHER_POD: Final = "not a started pod that this signal counts"
SIDES: Final = {
    Side.ENTER: "at `enter` or beyond",
    Side.BETWEEN: "between `exit` and `enter`",
    Side.EXIT: "at `exit` or beyond",
}
T = TypeVar("T")


class Asked(msgspec.Struct, frozen=True):
    """A signal, and the answer to its query."""

    key: str
    metric: MetricSignal
    query: str
    """As it was sent; as it is in the spec if it can't be sent."""
    series: Sequence[Sorted] = ()
    error: str = ""

    def data(self, now: float) -> SignalData:
        """Return the answer as a pass sees it."""
        if self.error:
            return SignalData(error=self.error)
        return SignalData(answer_of(reads_of(self.metric), self.series, now))


class Request(msgspec.Struct, frozen=True):
    """What to show, and of which cluster."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    pool: str
    output: Output
    every: bool
    """Whether to print every series, and not only the first of each kind."""


async def show(request: Request, source: Source, console: Console) -> None:
    """Ask and print. Raises NotFoundError if there is no such pool; AccessError and ApiError as for the cluster."""
    view = await load_view(request.kubeconfig, request.context, request.operator_namespace)
    pool = view.store.pools.get(request.pool)
    if pool is None:
        raise NotFoundError(f"there is no ComputePool {request.pool!r}: see `kubectl get computepools`")
    wanted = list(signals_of(pool))
    if not wanted and request.output is Output.TABLE:
        console.print(f"{pool.name} has no signals: add some to spec.saturation.metrics or spec.health.metrics.")
        return
    async with PrometheusClient(source) as client:
        asked = await asyncio.gather(
            *(_ask(client, view, pool, metric, provider, source.enforced_labels) for metric, provider in wanted)
        )
    told = _judged(view, pool, asked)

    def clean(text: str) -> str:
        return printable(client.hide(text))

    if request.output is not Output.TABLE:
        signals = [_as_json(one, told.get(one.key), clean) for one in asked]
        print_data({"pool": pool.name, "signals": signals}, request.output, console)
        return
    for index, one in enumerate(asked):
        if index:
            console.print()
        _print(one, told.get(one.key), console, clean, every=request.every)


def _as_json(asked: Asked, told: Told | None, clean: Callable[[str], str]) -> dict[str, Any]:
    """Return a signal as programs read it: see docs/commands.md. A query that has failed has no verdict."""
    metric = asked.metric
    found: dict[str, Any] = {
        "key": asked.key,
        "query": asked.query,
        "enter": str(metric.enter),
        "exit": str(metric.exit),
        "reduce": str(reduce_of(metric)),
        "error": clean(asked.error),
    }
    if asked.error or told is None:
        return found
    series = zip(asked.series, _problems(asked.series, told), strict=True)
    return found | {
        "verdict": str(told.verdict),
        "value": told.value,
        "coveragePercent": told.coverage,
        "reason": str(told.signal.reading.unknown or ""),
        "message": _verdict(told),
        "series": [
            {
                "owner": clean(one.owner),
                "value": one.series.value if one.series.value is None or isfinite(one.series.value) else None,
                "ageSeconds": one.age,
                "labels": {clean(name): clean(value) for name, value in sorted(one.series.labels.items())},
                "leftOutBecause": problem,
            }
            for one, problem in series
        ],
    }


async def _ask(
    client: PrometheusClient,
    view: View,
    pool: ComputePool,
    metric: MetricSignal,
    provider: str,
    enforced: Mapping[str, str],
) -> Asked:
    key = signal_key(metric, provider)
    try:
        question: Question = question_of(pool, metric, provider, view.store, enforced)
    except QueryError as error:
        return Asked(key, metric, reads_of(metric).query, error=f"The query can't be sent: {error}.")
    try:
        series = [one async for part in ask(client, question, view.store) for one in part]
    except SourceError as error:
        return Asked(key, metric, question.query, error=f"{error}.")
    return Asked(key, metric, question.query, series)


def _judged(view: View, pool: ComputePool, asked: Sequence[Asked]) -> Mapping[str, Told]:
    """Return the verdicts, by key, as the operator's next pass would have them. Its timers are not known here."""
    view.store.put_signals(pool.name, {one.key: one.data(view.now) for one in asked})
    snapshot = view.store.snapshot(pool.name)
    assessment = reconcile(snapshot, restarted(recorded_in(pool)), view.now).assessment
    return {told.key: told for told in told_of(pool, assessment.signals)}


def _print(asked: Asked, told: Told | None, console: Console, clean: Callable[[str], str], *, every: bool) -> None:
    """`clean`: makes a text of the server fit to print."""
    metric = asked.metric
    console.print(
        Text.assemble((asked.key, "bold"), f"  enter {metric.enter}, exit {metric.exit}, {reduce_of(metric)}")
    )
    _say(console, asked.query)
    if asked.error:
        _say(console, asked.error, style="red")
        return
    judged = list(zip(asked.series, _problems(asked.series, told), strict=True))
    counting = [one for one, problem in judged if not problem]
    left_out = [(one, problem) for one, problem in judged if problem]
    if counting:
        table = make_table("Belongs to", "Value", "Age", "Labels")
        for one in _first(counting, every=every):
            table.add_row(
                clean(one.owner) or "the pool",
                _value(one),
                span(one.age or 0.0),
                clean(_labels(one)),
            )
        print_table(table, console)
    if left_out:
        table = make_table("Left out because", "Value", "Labels")
        for one, problem in _first(left_out, every=every):
            table.add_row(problem, _value(one), clean(_labels(one)))
        print_table(table, console)
    more = len(asked.series) - len(_first(counting, every=every)) - len(_first(left_out, every=every))
    if more:
        _say(console, f"{counted(more, 'more series').removesuffix('s')} (--all prints them).")
    if told is not None:
        _say(console, _verdict(told))


def _verdict(told: Told) -> str:
    reading, metric = told.signal.reading, told.metric
    if reading.unknown is not None:
        few = reading.unknown is Reason.TOO_FEW_SERIES
        needed = f" coveragePercent asks for {metric.coverage_percent} %." if few else ""
        return f"Unknown ({reading.unknown}): {told.found}{needed}"
    if reading.value is None:
        return f"{told.verdict}: there is no node, and no started pod, to measure."
    return f"Value {told.value}, {SIDES[reading.side]}. The signal is {told.verdict}{_turns(told)}. {told.found}"


def _turns(told: Told) -> str:
    """Say when the signal turns, if its value stays."""
    side, metric = told.signal.reading.side, told.metric
    if side is Side.ENTER and not told.signal.on:
        return f", and turns on after {metric.sustain_seconds} s"
    if side is Side.EXIT and told.signal.on:
        return f", and turns off after {metric.clear_seconds} s"
    return ""


def _problems(series: Sequence[Sorted], told: Told | None) -> Sequence[str]:
    """Return why each series does not count; empty where it does."""
    if told is None or told.signal.names is None:
        return [one.problem for one in series]
    names = frozenset(told.signal.names)
    other = OTHER_NODE if reads_of(told.metric).scope is Scope.NODE else OTHER_POD
    return [one.problem or ("" if one.owner in names else other) for one in series]


def _first(series: Sequence[T], *, every: bool) -> Sequence[T]:
    return series if every else series[:SHOWN_SERIES]


def _value(one: Sorted) -> str:
    return "-" if one.series.value is None else rounded(one.series.value)


def _labels(one: Sorted) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(one.series.labels.items()))


def _say(console: Console, text: str, style: str = "default") -> None:
    console.print(Padding(Text(text, style=style), (0, 1), expand=False))
