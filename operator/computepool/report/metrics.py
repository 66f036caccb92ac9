"""Prometheus metrics. No label names a pod or a node: the number of series is bounded by pools and providers."""

from collections import Counter as Counts
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from importlib.metadata import version
from itertools import product
from platform import python_version
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from computepool.decide.burst.planner import BURST_REASONS
from computepool.decide.invariants import CHECKED
from computepool.model.api import BreakerState, ComputePool, Condition, ConditionStatus
from computepool.model.demand import MINUTE
from computepool.model.moves import TOLD, PodMove
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.model.state import HOLD_OFF_REASONS
from computepool.prometheus.errors import KINDS
from computepool.report.forecast import opened_by_forecast
from computepool.report.metric_help import HELP
from computepool.report.move_outcomes import outcome_of
from computepool.report.pass_report import PassReport
from computepool.report.problems import STUCK, stuck_pods
from computepool.report.signals import signals_told
from computepool.report.status import cost_per_hour

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BURST_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_DECISION_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_QUERY_BUCKETS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_BREAKER_NUMBERS: Final = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
BOUNDS: Final = ("earliest", "likely", "latest")
_Metric = TypeVar("_Metric", Gauge, Counter, Histogram)

# Otherwise each counter has a second series with the time at which it began. The library has this switch for the whole
# process only.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MoveResult(StrEnum):
    """What became of the request to let a running pod go."""

    MOVED = "moved"
    RELEASED = "released"
    """It was deleted, because its node is lost."""
    REFUSED = "refused"
    """A disruption budget keeps it."""
    GONE = "gone"
    """It had ended before."""
    FAILED = "failed"
    DROPPED = "dropped"
    """The last check found no reason for the move any more, or no place."""


class Metrics:
    """The operator's metrics, in a registry of its own. All their names begin with `computepool_`."""

    def __init__(self) -> None:
        """Register everything, so that a series exists before its first event."""
        self.registry = CollectorRegistry()
        self.labels: dict[str, tuple[str, ...]] = {}
        """By name of a metric: the labels of its series. A histogram's buckets have `le` besides."""
        self._of_pools: list[Gauge | Counter | Histogram] = []
        """All metrics with the label `pool`."""
        self._of_providers: list[Gauge | Counter | Histogram] = []
        """All metrics with the labels `pool` and `provider`."""
        self._providers: dict[str, set[str]] = {}
        """By pool: the providers that have series."""
        self._signals: dict[str, set[str]] = {}
        """By pool: the signals that have series."""
        self._begun: dict[str, tuple[str, ...]] = {}
        """By pool: the providers for which counters have begun."""
        gauge, counter = self._gauge, self._counter

        # --- one pass over a pool
        self._accelerators = gauge("provider_accelerators", "pool", "provider", "state")
        self._burst_pods = gauge("burst_pods", "pool", "provider")
        self._pending = gauge("pending_pods", "pool")
        self._gated = gauge("gated_pods", "pool")
        self._cost = gauge("cost_dollars_per_hour", "pool", "provider")
        self._saturated = gauge("primary_saturated", "pool")
        self._breakers = gauge("breaker_state", "pool", "provider")
        self._drained = gauge("provider_drained", "pool", "provider")
        self._drills = gauge("drill", "pool", "provider")
        self._unhealthy = gauge("unhealthy_nodes", "pool", "provider")
        self._hold_offs = gauge("hold_offs", "pool", "provider", "reason")
        self._spent = gauge("budget_spent_dollars", "pool")
        self._conditions = gauge("condition", "pool", "type", "status")
        self._stuck = gauge("stuck_pods", "pool", "reason")
        self._frozen = gauge("frozen", "pool")
        self._held_back = gauge("held_back", "pool")

        self._demand = gauge("demand_accelerators", "pool")
        self._full_in = gauge("forecast_full_seconds", "pool", "bound")
        self._ahead = gauge("forecast_opens_admission", "pool")
        self._signal_on = gauge("signal_on", "pool", "signal")
        self._signal_value = gauge("signal_value", "pool", "signal")
        self._signal_age = gauge("signal_age_seconds", "pool", "signal")

        # --- what was done, and what went wrong
        self._bursts = counter("bursts_total", "pool", "provider", "reason")
        self._moves = counter("moves_total", "pool", "from", "to", "result")
        self._outcomes = counter("move_outcomes_total", "pool", "from", "to", "outcome")
        self.refused = counter("write_refusals_total", "pool")
        self.pass_failures = counter("pass_failures_total", "pool")
        self._breaches = counter("invariant_breaches_total", "pool", "invariant")
        self.events_dropped = counter("events_dropped_total")

        # --- the source of metrics
        self.query_seconds = self._histogram("metric_query_seconds", _QUERY_BUCKETS)
        self._query_errors = counter("metric_query_errors_total", "kind")
        for kind in KINDS:
            self._query_errors.labels(kind)

        # --- the process
        self.decision_seconds = self._histogram("decision_seconds", _DECISION_BUCKETS)
        self.burst_latency = self._histogram("burst_latency_seconds", _BURST_BUCKETS)
        self.leader = gauge("leader")
        self._age = gauge("cache_age_seconds", "resource")
        gauge("build_info", "version", "python").labels(version("computepool"), python_version()).set(1)

    def follow_age(self, resource: str, age: Callable[[], float]) -> None:
        """Read the age of a cache whenever metrics are rendered."""
        self._age.labels(resource).set_function(age)

    def begin(self, pool: ComputePool) -> None:
        """Let the pool's counters begin at zero, so that a rate or an increase sees the first occurrence."""
        providers = tuple(provider.name for provider in pool.spec.providers)
        begun = self._begun.get(pool.name)
        if begun == providers:
            return
        for gone in set(begun or ()) - set(providers):
            for metric in (self._moves, self._outcomes):
                metric.remove_by_labels({"pool": pool.name, "from": gone})
                metric.remove_by_labels({"pool": pool.name, "to": gone})
        self._begun[pool.name] = providers
        for counter in (self.refused, self.pass_failures):
            counter.labels(pool.name)
        for number in CHECKED:
            self._breaches.labels(pool.name, str(number))
        for provider, reason in product(providers[1:], BURST_REASONS):
            self._bursts.labels(pool.name, provider, str(reason))
        for source, target in product(providers, repeat=2):
            for result in MoveResult:
                self._moves.labels(pool.name, source, target, result)
            for outcome in TOLD:
                self._outcomes.labels(pool.name, source, target, str(outcome))

    def passed(self, report: PassReport, conditions: Iterable[Condition] = ()) -> None:
        """Show the state after one pass over a pool. `conditions`: the conditions of its status."""
        self.begin(report.snapshot.pool)
        pool = report.snapshot.pool.name
        self._show_pool(pool, report, conditions)
        supplies = {supply.provider.name: supply for supply in report.assessment.supplies}
        for provider in self._providers.get(pool, set()) - supplies.keys():
            for metric in self._of_providers:
                metric.remove_by_labels({"pool": pool, "provider": provider})
        self._providers[pool] = set(supplies)
        blocking = report.assessment.breakers.hold_offs.blocking
        held_off = Counts((provider, reason) for provider, reason, _ in blocking)
        for name, supply in supplies.items():
            for state, count in (
                ("allocatable", whole(supply.allocatable)),
                ("allocated", whole(supply.allocated)),
                ("free", supply.free // MILLI),
                ("unhealthy", whole(supply.unusable)),
            ):
                self._accelerators.labels(pool, name, state).set(count)
            self._breakers.labels(pool, name).set(_BREAKER_NUMBERS[supply.breaker.state])
            self._drained.labels(pool, name).set(supply.provider.drain)
            self._drills.labels(pool, name).set(supply.provider.drill)
            self._unhealthy.labels(pool, name).set(len(supply.unhealthy))
            if not supply.provider.primary:
                self._burst_pods.labels(pool, name).set(supply.pods)
                for reason in HOLD_OFF_REASONS:
                    self._hold_offs.labels(pool, name, str(reason)).set(held_off[name, reason])
            _show(self._cost, cost_per_hour(supply), pool=pool, provider=name)

    def show_conditions(self, pool: str, conditions: Iterable[Condition]) -> None:
        """Show the conditions of a pool's status, also if no pass has made them."""
        for condition in conditions:
            for status in ConditionStatus:
                self._conditions.labels(pool, condition.type, str(status)).set(condition.status is status)

    def moved(self, pool: str, source: str, target: str, result: MoveResult) -> None:
        """Count what became of the request to let a running pod go: see `MoveResult`."""
        self._moves.labels(pool, source, target, result).inc()

    def ended(self, pool: str, move: PodMove) -> None:
        """Count what became of a moved pod's replacement: see `model.moves.Outcome`."""
        self._outcomes.labels(pool, move.source, move.target, str(outcome_of(move))).inc()

    def sent_to_standby(self, pool: str, provider: str, reason: Reason) -> None:
        """Count a pod that was sent to a standby."""
        self._providers.setdefault(pool, set()).add(provider)
        self._bursts.labels(pool, provider, str(reason)).inc()

    def invariant_breached(self, pool: str, number: int) -> None:
        """Count a decision that broke an invariant, by its number in ARCHITECTURE.md."""
        self._breaches.labels(pool, str(number)).inc()

    def queried(self, error: str, seconds: float) -> None:
        """Count an attempt to ask the source of metrics. `error`: its kind; empty if an answer came."""
        self.query_seconds.observe(seconds)
        if error:
            self._query_errors.labels(error).inc()

    def forget(self, pool: str) -> None:
        """Remove all series of a pool that is gone."""
        self._providers.pop(pool, None)
        self._signals.pop(pool, None)
        self._begun.pop(pool, None)
        for metric in self._of_pools:
            metric.remove_by_labels({"pool": pool})

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _show_pool(self, pool: str, report: PassReport, conditions: Iterable[Condition]) -> None:
        self.show_conditions(pool, conditions)
        for reason in STUCK:
            self._stuck.labels(pool, str(reason)).set(len(stuck_pods(report, reason)))
        self._show_signals(pool, report)
        self._show_forecast(pool, report)
        self._frozen.labels(pool).set(bool(report.plan.frozen))
        self._held_back.labels(pool).set(bool(report.plan.held_back))
        self._pending.labels(pool).set(len(report.pending))
        self._gated.labels(pool).set(report.gated)
        saturated = report.assessment.saturation.saturated
        self._saturated.labels(pool).set(-1 if saturated is None else int(saturated))
        spend = report.state.recorded.spend
        _show(self._spent, None if spend is None else spend.spent, pool=pool)

    def _show_signals(self, pool: str, report: PassReport) -> None:
        told = {one.key: one for one in signals_told(report)}
        for gone in self._signals.get(pool, set()) - told.keys():
            for metric in (self._signal_on, self._signal_value, self._signal_age):
                metric.remove_by_labels({"pool": pool, "signal": gone})
        self._signals[pool] = set(told)
        for key, one in told.items():
            reading = one.signal.reading
            self._signal_on.labels(pool, key).set(int(one.signal.on) if one.signal.known else -1)
            _show(self._signal_value, reading.value, pool=pool, signal=key)
            _show(self._signal_age, reading.age, pool=pool, signal=key)

    def _show_forecast(self, pool: str, report: PassReport) -> None:
        forecast = report.assessment.forecast
        demand = None if report.plan.frozen or forecast.demand is None else whole(forecast.demand)
        _show(self._demand, demand, pool=pool)
        full = forecast.full
        bounds = {"earliest": full.earliest, "likely": full.likely, "latest": full.latest} if full is not None else {}
        for bound in BOUNDS:
            minutes = bounds.get(bound)
            _show(self._full_in, None if minutes is None else minutes * MINUTE, pool=pool, bound=bound)
        _show(self._ahead, None if forecast.reason is None else int(opened_by_forecast(report)), pool=pool)

    def _gauge(self, name: str, *labels: str) -> Gauge:
        return self._noted(Gauge(f"computepool_{name}", HELP[name], labels, registry=self.registry), name, labels)

    def _counter(self, name: str, *labels: str) -> Counter:
        return self._noted(Counter(f"computepool_{name}", HELP[name], labels, registry=self.registry), name, labels)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        return self._noted(Histogram(f"computepool_{name}", HELP[name], buckets=buckets, registry=self.registry), name)

    def _noted(self, metric: _Metric, name: str, labels: tuple[str, ...] = ()) -> _Metric:
        self.labels[f"computepool_{name}"] = labels
        if "pool" in labels:
            self._of_pools.append(metric)
        if "provider" in labels:
            self._of_providers.append(metric)
        return metric


def _show(gauge: Gauge, amount: Decimal | float | None, **labels: str) -> None:
    """Set an amount; without an amount there is no series: zero would be a claim."""
    if amount is None:
        gauge.remove_by_labels(labels)
    else:
        gauge.labels(**labels).set(float(amount))
