"""Prometheus metrics. No label ever names a pod: their number is bounded by pools and providers."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from computepool.model.api import BreakerState, Condition, ConditionStatus
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason
from computepool.report.failing import STUCK, stuck
from computepool.report.pass_report import PassReport
from computepool.report.status import cost_per_hour

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BURST_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_DECISION_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
_STATES = ("allocatable", "allocated", "free", "unhealthy")
_STATE_NUMBERS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
RESULTS = ("moved", "released", "refused", "gone", "failed", "dropped")


class Metrics:
    """The operator's metrics, in a registry of its own."""

    def __init__(self) -> None:
        """Register everything, so that a series exists before its first event."""
        registry = self.registry = CollectorRegistry()
        self._accelerators = Gauge(
            "computepool_provider_accelerators",
            "Accelerators of a provider's nodes, by state",
            ["pool", "provider", "state"],
            registry=registry,
        )
        self._burst_pods = Gauge(
            "computepool_burst_pods", "Pods of the pool on a standby provider", ["pool", "provider"], registry=registry
        )
        self._pending = Gauge(
            "computepool_pending_pods", "Pods of the pool that wait for a node", ["pool"], registry=registry
        )
        self._cost = Gauge(
            "computepool_cost_dollars_per_hour",
            "What the pool's pods cost in an hour, where a price is given",
            ["pool", "provider"],
            registry=registry,
        )
        self._saturated = Gauge(
            "computepool_primary_saturated", "1 saturated, 0 not, -1 unknown", ["pool"], registry=registry
        )
        self._bursts = Counter(
            "computepool_bursts_total", "Pods sent on", ["pool", "provider", "reason"], registry=registry
        )
        self._moves = Counter(
            "computepool_moves_total",
            "Running pods moved, by what became of the eviction: moved, released, refused, gone, failed",
            ["pool", "from", "to", "result"],
            registry=registry,
        )
        self._breakers = Gauge(
            "computepool_breaker_state", "0 closed, 1 half-open, 2 open", ["pool", "provider"], registry=registry
        )
        self._unhealthy = Gauge(
            "computepool_unhealthy_nodes", "Nodes of a provider that are sick", ["pool", "provider"], registry=registry
        )
        self._spent = Gauge(
            "computepool_budget_spent_dollars", "Spent on standbys today, UTC", ["pool"], registry=registry
        )
        self._conditions = Gauge(
            "computepool_condition",
            "The pool's conditions: 1 for the status that each has, 0 for the others",
            ["pool", "type", "status"],
            registry=registry,
        )
        self._stuck = Gauge(
            "computepool_stuck_pods",
            "Running pods that should leave where they are and can't, by reason; at most some hundreds are counted",
            ["pool", "reason"],
            registry=registry,
        )
        self._frozen = Gauge(
            "computepool_frozen", "1 while nothing is decided about the pool, 0 otherwise", ["pool"], registry=registry
        )
        self._held_back = Gauge(
            "computepool_held_back",
            "1 while too much has failed at once, so that no running pod is moved, 0 otherwise",
            ["pool"],
            registry=registry,
        )
        self.refused = Counter(
            "computepool_write_refusals_total", "Writes that the API server refused", ["pool"], registry=registry
        )
        self.pass_failures = Counter(
            "computepool_pass_failures_total",
            "Passes over a pool that ended in an error nobody has thought of; the pool is left alone for a while",
            ["pool"],
            registry=registry,
        )
        self.events_dropped = Counter(
            "computepool_events_dropped_total", "Events not sent because too many waited", registry=registry
        )
        self.decision_seconds = Histogram(
            "computepool_decision_seconds",
            "Time to assess and decide one pass over one pool",
            buckets=_DECISION_BUCKETS,
            registry=registry,
        )
        self.burst_latency = Histogram(
            "computepool_burst_latency_seconds",
            "From the event that made a pod overflow to its patch being answered",
            buckets=_BURST_BUCKETS,
            registry=registry,
        )
        self.leader = Gauge("computepool_leader", "1 while this process leads", registry=registry)
        self._age = Gauge(
            "computepool_cache_age_seconds",
            "Seconds since the view of a resource was last known to be current",
            ["resource"],
            registry=registry,
        )
        self._providers: dict[str, set[str]] = {}
        self._ways: dict[str, set[tuple[str, str]]] = {}
        self._types: dict[str, set[str]] = {}

    def follow_age(self, resource: str, age: Callable[[], float]) -> None:
        """Have the age of a cache read whenever metrics are."""
        self._age.labels(resource).set_function(age)

    def passed(self, outcome: PassReport, conditions: Iterable[Condition] = ()) -> None:
        """Show the state after one pass over a pool; `conditions`: those that its status has now."""
        pool = outcome.snapshot.pool.name
        self._standing(pool, outcome, conditions)
        self._pending.labels(pool).set(len(outcome.snapshot.waiting))
        saturated = outcome.assessment.saturation.saturated
        self._saturated.labels(pool).set(-1 if saturated is None else int(saturated))
        names = {supply.provider.name for supply in outcome.assessment.supplies}
        for stale in self._providers.get(pool, set()) - names:
            self._drop_provider(pool, stale)
        self._providers[pool] = names
        for supply in outcome.assessment.supplies:
            name = supply.provider.name
            counts = (whole(supply.allocatable), whole(supply.allocated), supply.free // MILLI, whole(supply.unusable))
            for state, count in zip(_STATES, counts, strict=True):
                self._accelerators.labels(pool, name, state).set(count)
            self._breakers.labels(pool, name).set(_STATE_NUMBERS[supply.breaker.state])
            self._unhealthy.labels(pool, name).set(len(supply.unhealthy))
            if not supply.provider.primary:
                self._burst_pods.labels(pool, name).set(supply.pods)
            cost = cost_per_hour(supply)
            if cost is None:
                _remove(self._cost, pool, name)
            else:
                self._cost.labels(pool, name).set(float(cost))

        spend = outcome.state.recorded.spend
        if spend is None:
            _remove(self._spent, pool)
        else:
            self._spent.labels(pool).set(float(spend.spent))

    def moved(self, pool: str, source: str, target: str, result: str) -> None:
        """Count what became of a running pod's eviction: one of `RESULTS`."""
        self._ways.setdefault(pool, set()).add((source, target))
        self._moves.labels(pool, source, target, result).inc()

    def sent_on(self, pool: str, provider: str, reason: Reason) -> None:
        """Count a pod sent on."""
        self._providers.setdefault(pool, set()).add(provider)
        self._bursts.labels(pool, provider, str(reason)).inc()

    def forget(self, pool: str) -> None:
        """Remove the series of a pool that is gone."""
        for provider in self._providers.pop(pool, set()):
            self._drop_provider(pool, provider)
        for source, target in self._ways.pop(pool, set()):
            for result in RESULTS:
                _remove(self._moves, pool, source, target, result)
        for kind in self._types.pop(pool, set()):
            for status in ConditionStatus:
                _remove(self._conditions, pool, kind, status)
        for reason in STUCK:
            _remove(self._stuck, pool, reason)
        gauges = (self._pending, self._saturated, self._spent, self._frozen, self._held_back)
        for metric in (*gauges, self.refused, self.pass_failures):
            _remove(metric, pool)

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _standing(self, pool: str, outcome: PassReport, conditions: Iterable[Condition]) -> None:
        for condition in conditions:
            self._types.setdefault(pool, set()).add(condition.type)
            for status in ConditionStatus:
                self._conditions.labels(pool, condition.type, str(status)).set(condition.status is status)
        for reason in STUCK:
            self._stuck.labels(pool, str(reason)).set(len(stuck(outcome, reason)))
        self._frozen.labels(pool).set(bool(outcome.plan.frozen))
        self._held_back.labels(pool).set(bool(outcome.plan.held_back))

    def _drop_provider(self, pool: str, provider: str) -> None:
        for state in _STATES:
            _remove(self._accelerators, pool, provider, state)
        for gauge in (self._burst_pods, self._cost, self._breakers, self._unhealthy):
            _remove(gauge, pool, provider)
        for reason in Reason:
            _remove(self._bursts, pool, provider, reason)


def _remove(metric: Gauge | Counter, *labels: str) -> None:
    try:
        metric.remove(*labels)
    except KeyError:
        return  # it was never set: a provider without a price has no cost
