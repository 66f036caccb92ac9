"""The chart's alerts and dashboard on a real Prometheus: their queries find what a real operator serves, no alert fires
while all is well or while a person drains a provider, and each alert fires when it should.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e import chart, objects, pools
from e2e.exporter import Exporter
from e2e.metrics_source import MetricsSource
from e2e.prometheus import Prometheus, Target
from e2e.site import Site
from tests.unit.chart.expressions import alerts, expressions, metric, selectors

Json = dict[str, Any]

# A forecast needs minutes of history, so there are no series of it yet. tests/e2e/test_forecast.py has them.
TAKES_MINUTES = {"computepool_forecast_full_seconds"}
LOOKED = "evaluations_with_current_samples"


def _at_once(rule: Json) -> Json:
    return {key: value for key, value in rule.items() if key != "for"}


@contextmanager
def _judging(folder: Path, exporter: Exporter, *targets: Target, looks_for: str) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these targets and evaluates all alerts every second, and fires them at once.

    `looks_for`: a query. Its answers are recorded after each evaluation of the alerts, so that a test can wait for it.
    """
    rules = [*map(_at_once, alerts()), {"record": LOOKED, "expr": looks_for}]
    with Prometheus(folder, exporter, rules=rules) as prometheus:
        prometheus.watch(targets)
        yield prometheus


def _firing(prometheus: Prometheus) -> dict[str, list[Json]]:
    """The alerts that fire, by name. No rule may have ended in an error; a rule that is new is in state "unknown"."""
    found = {}
    for rule in prometheus.rules():
        assert rule["health"] in ("ok", "unknown"), rule
        if rule.get("alerts"):
            found[rule["name"]] = rule["alerts"]
    return found


def _is_quiet(prometheus: Prometheus, looks_for: str) -> None:
    """No alert fires in two evaluations that have seen what was looked for."""
    prometheus.wait_for(f"count_over_time({LOOKED}[5s]) >= 2 and on () count({looks_for})", 1)
    assert _firing(prometheus) == {}
    assert {rule["health"] for rule in prometheus.rules()} == {"ok"}


@pytest.fixture
def pool(metrics: MetricsSource, site: Site) -> Iterator[str]:
    """A pool that all is well with, and that uses everything which has metrics."""
    site.add_nodes("aws", gpus=8)
    site.add_nodes("nebius", gpus=8, taint=True)
    site.create(objects.gpu_pod("s", labels={"app": "server"}))
    site.wait_bound(1)
    metrics.exporter.serve("s", 'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 1\n')
    metrics.watch([Target("s", {"namespace": site.namespace, "pod": "s"})])
    providers = [
        pools.provider(site, name, pricePerAcceleratorHour="2.50", capacity={"type": "Standing"})
        for name in ("aws", "nebius")
    ]
    signal = {"name": "queue", "preset": "vllm", "enter": "5", "exit": "1"}
    how: Json = {
        "saturation": {**pools.AT_ONCE, "metrics": [signal]},
        "forecast": {"mode": "Report"},
        "budget": {"perDay": "1000"},
    }
    with pools.pool(site, providers, **how) as made:
        name = made["metadata"]["name"]
        pools.wait_condition(site, name, "SignalsKnown", "True")
        yield name


def _operator(metrics: MetricsSource) -> Target:
    return Target("operator", {"pod": metrics.operator.identity}, address=f"127.0.0.1:{metrics.operator.port}")


def test_every_query_finds_series_that_a_real_operator_serves(
    metrics: MetricsSource, pool: str, tmp_path: Path
) -> None:
    with Prometheus(tmp_path, metrics.exporter) as prometheus:
        prometheus.watch([_operator(metrics)])
        prometheus.wait_for(f'computepool_signal_value{{pool="{pool}"}}', 1)
        for query in expressions(pool):
            prometheus.query(query)
            for selector, grouped in selectors(query):
                if metric(selector) in TAKES_MINUTES:
                    continue
                found = prometheus.query(selector.prettify())
                assert found, f"{query}: there is no {selector.prettify()}"
                assert all(grouped <= series["metric"].keys() for series in found), query


def test_no_alert_fires_while_all_is_well_or_while_a_person_drains_a_provider(
    metrics: MetricsSource, site: Site, pool: str, tmp_path: Path
) -> None:
    known = f'computepool_signal_value{{pool="{pool}"}}'
    drained = f'computepool_breaker_state{{pool="{pool}",provider="nebius"}} == 2'
    with _judging(tmp_path / "well", metrics.exporter, _operator(metrics), looks_for=known) as prometheus:
        _is_quiet(prometheus, known)
    site.api.patch(pools.POOLS, pool, [{"op": "add", "path": "/spec/providers/1/drain", "value": True}], how="json")
    with _judging(tmp_path / "drained", metrics.exporter, _operator(metrics), looks_for=drained) as prometheus:
        _is_quiet(prometheus, drained)


WELL: Mapping[str, float] = {
    "computepool_leader": 1,
    'computepool_cache_age_seconds{resource="nodes"}': 1,
    'computepool_cache_age_seconds{resource="node leases"}': 1,
    'computepool_pass_failures_total{pool="p"}': 0,
    'computepool_invariant_breaches_total{pool="p",invariant="5"}': 0,
    'computepool_frozen{pool="p"}': 0,
    'computepool_held_back{pool="p"}': 0,
    'computepool_breaker_state{pool="p",provider="nebius"}': 0,
    'computepool_provider_drained{pool="p",provider="nebius"}': 0,
    'computepool_drill{pool="p",provider="nebius"}': 0,
    'computepool_stuck_pods{pool="p",reason="LostNode"}': 0,
    'computepool_pending_pods{pool="p"}': 0,
    'computepool_condition{pool="p",type="BudgetExhausted",status="True"}': 0,
    'computepool_condition{pool="p",type="Degraded",status="True"}': 0,
    'computepool_write_refusals_total{pool="p"}': 0,
    'computepool_moves_total{pool="p",from="nebius",to="aws",result="failed"}': 0,
    'computepool_moves_total{pool="p",from="nebius",to="aws",result="moved"}': 0,
    'computepool_move_outcomes_total{pool="p",from="nebius",to="aws",outcome="NotReplaced"}': 0,
    'computepool_move_outcomes_total{pool="p",from="nebius",to="aws",outcome="Replaced"}': 0,
    'computepool_signal_on{pool="p",signal="queue"}': 0,
    'computepool_unhealthy_nodes{pool="p",provider="nebius"}': 0,
}
# What happens every day, and is no reason for an alert. A person has drained crusoe, which hides nothing else.
DAILY: Mapping[str, float] = {
    'computepool_moves_total{pool="p",from="nebius",to="aws",result="moved"}': 9,
    'computepool_move_outcomes_total{pool="p",from="nebius",to="aws",outcome="Replaced"}': 9,
    'computepool_signal_on{pool="p",signal="queue"}': 1,
    'computepool_breaker_state{pool="p",provider="nebius"}': 1,
    'computepool_breaker_state{pool="p",provider="crusoe"}': 2,
    'computepool_provider_drained{pool="p",provider="crusoe"}': 1,
    'computepool_cache_age_seconds{resource="nodes"}': 119,
}
# For each alert: what its metrics show. The first occurrence of an event counts.
WRONG: Mapping[str, Mapping[str, float]] = {
    "ComputePoolNoLeader": {"computepool_leader": 0},
    "ComputePoolCacheStale": {'computepool_cache_age_seconds{resource="nodes"}': float("inf")},
    "ComputePoolEvidenceMissing": {'computepool_cache_age_seconds{resource="node leases"}': 121},
    "ComputePoolPassFailing": {'computepool_pass_failures_total{pool="p"}': 9},
    "ComputePoolInvariantBreached": {'computepool_invariant_breaches_total{pool="p",invariant="5"}': 1},
    "ComputePoolFrozen": {'computepool_frozen{pool="p"}': 1},
    "ComputePoolHeldBack": {'computepool_held_back{pool="p"}': 1},
    "ComputePoolProviderFailed": {'computepool_breaker_state{pool="p",provider="nebius"}': 2},
    "ComputePoolPodsStuck": {'computepool_stuck_pods{pool="p",reason="LostNode"}': 2},
    "ComputePoolPodsPending": {'computepool_pending_pods{pool="p"}': 1},
    "ComputePoolBudgetExhausted": {'computepool_condition{pool="p",type="BudgetExhausted",status="True"}': 1},
    "ComputePoolDegraded": {'computepool_condition{pool="p",type="Degraded",status="True"}': 1},
    "ComputePoolWriteRefused": {'computepool_write_refusals_total{pool="p"}': 1},
    "ComputePoolMoveFailed": {'computepool_moves_total{pool="p",from="nebius",to="aws",result="failed"}': 1},
    "ComputePoolMoveEndedElsewhere": {
        'computepool_move_outcomes_total{pool="p",from="nebius",to="aws",outcome="NotReplaced"}': 1
    },
    "ComputePoolSignalUnknown": {'computepool_signal_on{pool="p",signal="queue"}': -1},
    "ComputePoolNodesUnhealthy": {'computepool_unhealthy_nodes{pool="p",provider="nebius"}': 1},
}


def _text(values: Mapping[str, float]) -> str:
    return "".join(f"{series} {value:g}\n" for series, value in values.items())


def _wait_firing(prometheus: Prometheus, names: set[str]) -> dict[str, list[Json]]:
    """Wait until exactly these alerts fire."""

    def probe() -> tuple[dict[str, list[Json]]] | None:
        found = _firing(prometheus)
        return (found,) if found.keys() == names else None

    (found,) = chart.until(probe, f"{', '.join(sorted(names)) or 'no alert'} to fire")
    return found


@pytest.mark.parametrize("name", [rule["alert"] for rule in alerts()])
def test_the_case_of_each_alert_is_played(name: str) -> None:
    assert name in WRONG


def test_each_alert_fires_for_its_own_case_and_for_no_other(tmp_path: Path) -> None:
    daily = {**WELL, **DAILY}
    seen = "computepool_signal_on == 1"
    with Exporter() as exporter:
        exporter.serve("operator", _text(WELL))
        with _judging(tmp_path, exporter, Target("operator"), looks_for=seen) as prometheus:
            # Events are counted from here on.
            prometheus.wait_for("count_over_time(computepool_leader[5s]) >= 2", 1)
            exporter.serve("operator", _text(daily))
            _is_quiet(prometheus, seen)
            lasting: set[str] = set()
            for name, wrong in WRONG.items():
                exporter.serve("operator", _text({**daily, **wrong}))
                found = _wait_firing(prometheus, {name, *lasting})
                _check_words(found[name])
                if any("_total" in series for series in wrong):
                    # `increase()` remembers an event for minutes.
                    lasting.add(name)
                exporter.serve("operator", _text(daily))
                _wait_firing(prometheus, lasting)


def test_a_drill_keeps_its_own_pool_quiet_about_what_it_brings_about(tmp_path: Path) -> None:
    lasting = {"ComputePoolPodsStuck", "ComputePoolPodsPending", "ComputePoolBudgetExhausted", "ComputePoolDegraded"}
    brought: dict[str, float] = {}
    for name in (*lasting, "ComputePoolMoveEndedElsewhere"):
        brought |= WRONG[name]
    drill, other = 'computepool_drill{pool="p",provider="nebius"}', 'computepool_drill{pool="q",provider="nebius"}'
    seen = "max by (pool) (computepool_pending_pods) == 1"
    with Exporter() as exporter:
        exporter.serve("operator", _text(WELL))
        with _judging(tmp_path, exporter, Target("operator"), looks_for=seen) as prometheus:
            prometheus.wait_for("count_over_time(computepool_leader[5s]) >= 2", 1)
            exporter.serve("operator", _text({**WELL, **brought, drill: 1}))
            _is_quiet(prometheus, seen)
            # The drill of another pool hides nothing. The moves that the own drill made are of the last ten minutes.
            exporter.serve("operator", _text({**WELL, **brought, other: 1}))
            _wait_firing(prometheus, lasting)


def _check_words(firing: list[Json]) -> None:
    for alert in firing:
        text = " ".join(alert["annotations"].values())
        assert "error expanding" not in text
        assert "<no value>" not in text
        assert all(value in text for label, value in alert["labels"].items() if label in ("pool", "provider", "signal"))


def test_metrics_that_are_gone_are_an_operator_that_does_not_lead(tmp_path: Path) -> None:
    with Exporter() as exporter, _judging(tmp_path, exporter, looks_for="vector(1)") as prometheus:
        _wait_firing(prometheus, {"ComputePoolNoLeader"})
