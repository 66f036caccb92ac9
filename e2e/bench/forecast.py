"""The forecast on recorded demand, beside three baselines, in this process: the error of each, how early each says that
the capacity will be full, and how often it says so in vain. Nothing is timed.

The forecast is the operator's own (`computepool.assess.forecast.trend`). Its window, its two thresholds and its range
were chosen on vc6YE alone.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from computepool.assess.forecast.trend import Trend, full_in, trend_of
from computepool.model.api import ForecastSpec
from e2e.bench.report import Result, Row, number
from e2e.bench.rounds import Scale
from e2e.progress import Progress
from e2e.spread import Spread, percentile
from tests.unit.core.oscillation import TRACE

FOLDER: Final = Path(__file__).parent / "traces"
DAY: Final = 1_440
HOUR: Final = 60
WINDOW: Final = ForecastSpec().window_minutes
AHEAD: Final = (5, 15, 30)
HORIZON: Final = 10
"""Minutes before it is full that an alarm is asked for."""
QUIET: Final = 15
"""Minutes below the capacity before the next overload counts as another."""
STEP: Final = 5
"""Minutes between two errors that are counted."""

FORECAST, SAME, YESTERDAY, PEAK = "forecast", "no change", "same time yesterday", "last peak of that hour"


class Trace(msgspec.Struct, frozen=True):
    """A recorded demand: one value a minute."""

    name: str
    unit: str
    demand: Sequence[float]
    capacity: float
    has_yesterday: bool
    note: str = ""

    @property
    def start(self) -> int:
        """The first minute that is forecast."""
        return DAY if self.has_yesterday else WINDOW


class Alarms(msgspec.Struct, frozen=True):
    """How well one way foresees overloads."""

    overloads: int
    foreseen: int
    lead: float
    """Minutes won before each foreseen overload, in the middle; 0 without any."""
    false_a_day: float


def run(scale: Scale) -> Result:
    """Forecast each trace, once: it comes out the same each time."""
    rows, raw = [], {}
    with Progress("forecast") as progress:
        for trace in traces(scale.trace_days):
            progress.say(trace.name)
            trends = [trend_of(trace.demand[at - WINDOW + 1 : at + 1]) for at in range(WINDOW - 1, len(trace.demand))]
            ways = _ways(trace, trends)
            errors = {minutes: _errors(trace, ways, minutes) for minutes in AHEAD}
            alarms = {name: _alarms(trace, alarm) for name, alarm in _alarming(trace, trends).items()}
            raw[trace.name] = {
                "errors": errors,
                "alarms": msgspec.to_builtins(alarms),
                "within_range": _within_range(trace, trends),
            }
            rows += [_error_row(trace, minutes, errors[minutes]) for minutes in AHEAD]
            rows += _alarm_rows(trace, alarms, _within_range(trace, trends))
    return Result("forecast", rows, raw)


def traces(days: float) -> Iterator[Trace]:
    """Yield the traces; of the long traces the first day, and so many days after it."""
    minutes = DAY + int(days * DAY)
    for path in (TRACE, FOLDER / "helios-earth" / "vcTJs.csv.gz", FOLDER / "helios-earth" / "vcpDC.csv.gz"):
        with gzip.open(path, "rt", newline="") as lines:
            found = [line for line, _ in zip(csv.DictReader(lines), range(minutes), strict=False)]
        demand = [float(line["running_gpu_num"]) + float(line["pending_gpu_num"]) for line in found]
        yield Trace(path.name.partition(".")[0], "GPUs", demand, float(found[0]["total_gpu_num"]), True)
    for name in ("code", "conv"):
        demand = list(_servers(FOLDER / "azure-llm-2023" / f"{name}.csv"))
        note = "5 s of the trace count as a minute, servers follow the requests of the last 12"
        yield Trace(f"azure {name}", "servers", demand, percentile(demand, 0.9), False, note)


def _servers(path: Path) -> Iterator[float]:
    """Yield how many servers the requests need, if one server answers a twentieth of the requests of the hour."""
    with path.open(newline="") as lines:
        requests = [float(line["requests"]) for line in csv.DictReader(lines)]
    one = sum(requests) / len(requests) / 20
    for at in range(11, len(requests)):
        yield float(ceil(sum(requests[at - 11 : at + 1]) / 12 / one))


Way = Callable[[int, int], float]
"""The demand that is expected at a minute, so many minutes before."""


def _ways(trace: Trace, trends: Sequence[Trend]) -> dict[str, Way]:
    demand = trace.demand
    ways: dict[str, Way] = {
        FORECAST: lambda at, minutes: trends[at - minutes - WINDOW + 1].after(minutes),
        SAME: lambda at, minutes: demand[at - minutes],
    }
    if trace.has_yesterday:
        peaks = [max(demand[hour : hour + HOUR]) for hour in range(0, len(demand), HOUR)]
        ways[YESTERDAY] = lambda at, _minutes: demand[at - DAY]
        ways[PEAK] = lambda at, _minutes: peaks[(at - DAY) // HOUR]
    return ways


def _errors(trace: Trace, ways: dict[str, Way], minutes: int) -> dict[str, float]:
    """Return the mean absolute error of each way."""
    times = range(trace.start + minutes, len(trace.demand), STEP)
    return {
        name: sum(abs(way(at, minutes) - trace.demand[at]) for at in times) / len(times) for name, way in ways.items()
    }


def _alarming(trace: Trace, trends: Sequence[Trend]) -> dict[str, Callable[[int], bool]]:
    """Return for each way whether it says at a minute that the capacity will be full within the horizon.

    "No change" never says so.
    """
    demand, capacity = trace.demand, trace.capacity
    alarming: dict[str, Callable[[int], bool]] = {
        FORECAST: lambda at: full_in(trends[at - WINDOW + 1], capacity, HORIZON) is not None
    }
    if trace.has_yesterday:
        peaks = [max(demand[hour : hour + HOUR]) for hour in range(0, len(demand), HOUR)]
        alarming[YESTERDAY] = lambda at: max(demand[at - DAY + 1 : at - DAY + HORIZON + 1]) >= capacity
        alarming[PEAK] = lambda at: peaks[(at + HORIZON - DAY) // HOUR] >= capacity
    return alarming


def _alarms(trace: Trace, alarm: Callable[[int], bool]) -> Alarms:
    demand, start = trace.demand, trace.start
    full = [value >= trace.capacity for value in demand]
    overloads = [at for at in range(start, len(demand)) if full[at] and not any(full[at - QUIET : at])]
    begun = [at for at in range(start + 1, len(demand)) if not full[at] and alarm(at) and not _on(full, alarm, at - 1)]
    leads: dict[int, int] = {}
    false = 0
    for at in begun:
        following = bisect_left(overloads, at)
        if following < len(overloads) and overloads[following] - at <= 2 * HORIZON:
            leads.setdefault(overloads[following], overloads[following] - at)
        else:
            false += 1
    days = (len(demand) - start) / DAY
    return Alarms(len(overloads), len(leads), float(median(leads.values())) if leads else 0.0, false / days)


def _on(full: Sequence[bool], alarm: Callable[[int], bool], at: int) -> bool:
    return not full[at] and alarm(at)


def _within_range(trace: Trace, trends: Sequence[Trend]) -> float:
    """Return the percent of the forecasts with a trend whose range holds the demand after HORIZON minutes."""
    found = [
        abs(trend.after(HORIZON) - trace.demand[at + HORIZON]) <= trend.spread(HORIZON)
        for at in range(trace.start, len(trace.demand) - HORIZON)
        if (trend := trends[at - WINDOW + 1]).slope
    ]
    return 100 * sum(found) / max(1, len(found))


def _error_row(trace: Trace, minutes: int, errors: dict[str, float]) -> Row:
    # A tie counts for the simpler way.
    best = min((name for name in errors), key=lambda name: (round(errors[name], 2), name == FORECAST))
    beside = ", ".join(_beside(name, None if name not in errors else number(errors[name])) for name in _BASELINES)
    return Row(
        what=f"{trace.name}: mean error of the forecast after {minutes} min",
        unit=trace.unit,
        value=Spread.of([errors[FORECAST]]),
        detail=f"{beside}: {best} wins",
    )


def _alarm_rows(trace: Trace, alarms: dict[str, Alarms], within_range: float) -> list[Row]:
    own = alarms[FORECAST]
    others = [name for name in _BASELINES if name != SAME]
    leads = ", ".join(
        _beside(name, None if name not in alarms else f"{number(alarms[name].lead)} for {alarms[name].foreseen}")
        for name in others
    )
    false = ", ".join(
        _beside(name, None if name not in alarms else number(alarms[name].false_a_day)) for name in others
    )
    most = max(alarms, key=lambda name: (alarms[name].foreseen, name != FORECAST))
    fewest = min(alarms, key=lambda name: (alarms[name].false_a_day, name == FORECAST))
    return [
        Row(
            what=f"{trace.name}: lead time won, alarms {HORIZON} min ahead",
            unit="min",
            value=Spread.of([own.lead]),
            detail=f"for {own.foreseen} of {own.overloads} overloads; {SAME} 0 for 0, {leads}: {most} foresees most",
        ),
        Row(
            what=f"{trace.name}: false alarms a day",
            unit="alarms",
            value=Spread.of([own.false_a_day]),
            detail=f"{SAME} 0, {false}: {SAME} wins, and {fewest} of the ways that give any"
            f"; the range of 80 % holds {number(within_range)} %" + (f"; {trace.note}" if trace.note else ""),
        ),
    ]


_BASELINES: Final = (SAME, YESTERDAY, PEAK)


def _beside(name: str, value: str | None) -> str:
    return f"{name} {value or 'no data'}"
