"""The chart's Grafana dashboard: charts/computepool/files/dashboard.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

WIDTH = 24
"""Columns of Grafana's grid."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_POOL = 'pool="$pool"'
_RATE = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """A panel with one query for each legend. `width` and `height` are in units of Grafana's grid.

    A "stat" shows the value, or its legend if it has one.
    """

    title: str
    queries: dict[str, str]
    """By legend: the query. A legend in braces takes labels, such as {{provider}}."""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 7
    stacked: bool = False
    texts: tuple[str, ...] = ()
    """What the values 0, 1, 2 mean. Where the first text is for -1, `first` says so."""
    first: int = 0


def _of(metric: str, *by: str, more: str = "") -> str:
    """A gauge of the pool. The maximum joins the series of a leader and of its successor."""
    return f"max by ({', '.join(by)}) (computepool_{metric}{{{_POOL}{more}}})"


def _increase(counter: str, *by: str) -> str:
    """How often it was counted since the point before."""
    return f"sum by ({', '.join(by)}) (increase(computepool_{counter}{{{_POOL}}}[{_RATE}]))"


def _quantiles(histogram: str) -> dict[str, str]:
    return {
        f"p{percent}": f"histogram_quantile({percent / 100}, "
        f"sum by (le) (rate(computepool_{histogram}_bucket[{_RATE}])))"
        for percent in (50, 99)
    }


PANELS = (
    Panel("Leaders", {"": "sum(computepool_leader)"}, kind="stat", width=4, height=4),
    Panel("Pods that wait", {"": _of("pending_pods")}, kind="stat", width=4, height=4),
    Panel("Pods on standbys", {"": f"sum({_of('burst_pods', 'provider')})"}, kind="stat", width=4, height=4),
    Panel(
        "Cost per hour",
        {"": f"sum({_of('cost_dollars_per_hour', 'provider')})"},
        kind="stat",
        unit="currencyUSD",
        width=4,
        height=4,
    ),
    Panel("Spent today (UTC)", {"": _of("budget_spent_dollars")}, kind="stat", unit="currencyUSD", width=4, height=4),
    Panel("Version", {"{{version}}": "max by (version) (computepool_build_info)"}, kind="stat", width=4, height=4),
    Panel(
        "Conditions",
        {"{{type}}": _of("condition", "type", more=',status="True"')},
        kind="state-timeline",
        texts=("not True", "True"),
    ),
    Panel(
        "Primary and standstill",
        {"saturated": _of("primary_saturated"), "frozen": _of("frozen"), "held back": _of("held_back")},
        kind="state-timeline",
        texts=("unknown", "no", "yes"),
        first=-1,
    ),
    Panel(
        "Accelerators",
        {"{{provider}} {{state}}": _of("provider_accelerators", "provider", "state", more=',state!="allocatable"')},
        stacked=True,
    ),
    Panel("Pods on standbys, by provider", {"{{provider}}": _of("burst_pods", "provider")}, stacked=True),
    Panel(
        "Breakers",
        {
            "{{provider}}": _of("breaker_state", "provider"),
            "{{provider}} drained": _of("provider_drained", "provider"),
            "{{provider}} drill": _of("drill", "provider"),
        },
        kind="state-timeline",
        texts=("closed", "half-open", "open"),
    ),
    Panel(
        "Nodes and pods in trouble",
        {
            "unhealthy nodes of {{provider}}": _of("unhealthy_nodes", "provider"),
            "stuck pods: {{reason}}": _of("stuck_pods", "reason"),
            "{{provider}} held off: {{reason}}": _of("hold_offs", "provider", "reason"),
        },
    ),
    Panel("Pods that wait", {"pending": _of("pending_pods"), "gated": _of("gated_pods")}),
    Panel("Pods sent to standbys", {"{{provider}}: {{reason}}": _increase("bursts_total", "provider", "reason")}),
    Panel("Moves", {"{{from}} to {{to}}: {{result}}": _increase("moves_total", "from", "to", "result")}),
    Panel(
        "Ends of moves", {"{{from}} to {{to}}: {{outcome}}": _increase("move_outcomes_total", "from", "to", "outcome")}
    ),
    Panel("Cost per hour, by provider", {"{{provider}}": _of("cost_dollars_per_hour", "provider")}, "currencyUSD"),
    Panel(
        "Signals from metrics: values",
        {"{{signal}}": _of("signal_value", "signal"), "age of {{signal}}": _of("signal_age_seconds", "signal")},
    ),
    Panel(
        "Signals from metrics: verdicts",
        {"{{signal}}": _of("signal_on", "signal")},
        kind="state-timeline",
        texts=("unknown", "off", "on"),
        first=-1,
    ),
    Panel(
        "Forecast: seconds until the primary is full",
        {"{{bound}}": _of("forecast_full_seconds", "bound")},
        unit="s",
    ),
    Panel(
        "Demand on the primary",
        {"demand": _of("demand_accelerators"), "a forecast opens admission": _of("forecast_opens_admission")},
    ),
    Panel("From overflow to the answered patch", _quantiles("burst_latency_seconds"), unit="s"),
    Panel("Time to decide a pass", _quantiles("decision_seconds"), unit="s"),
    Panel("Time of a query of the source of metrics", _quantiles("metric_query_seconds"), unit="s"),
    Panel("Age of the view", {"{{resource}}": "max by (resource) (computepool_cache_age_seconds)"}, unit="s"),
    Panel(
        "Errors",
        {
            "refused writes": _increase("write_refusals_total", "pool"),
            "failed passes": _increase("pass_failures_total", "pool"),
            "breaches of invariant {{invariant}}": _increase("invariant_breaches_total", "invariant"),
            "queries: {{kind}}": f"sum by (kind) (increase(computepool_metric_query_errors_total[{_RATE}]))",
            "events dropped": f"sum(increase(computepool_events_dropped_total[{_RATE}]))",
        },
    ),
)


def render() -> str:
    """The dashboard as JSON."""
    dashboard = {
        "uid": "computepool",
        "title": "ComputePool",
        "tags": ["computepool"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": _placed(),
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _variables() -> list[Json]:
    query = "label_values(computepool_frozen, pool)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {"name": "pool", "label": "Pool", "type": "query", "datasource": _SOURCE, "refresh": 2, "sort": 1}
        | {"definition": query, "query": {"query": query, "refId": "pools"}},
    ]


def _placed() -> list[Json]:
    """The panels from left to right, row by row."""
    placed = []
    x = y = tallest = 0
    for number, panel in enumerate(PANELS, 1):
        if x + panel.width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        placed.append({"id": number, "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height}, **_panel(panel)})
        x, tallest = x + panel.width, max(tallest, panel.height)
    return placed


def _panel(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit}
    if panel.texts:
        texts = {str(value): {"text": text} for value, text in enumerate(panel.texts, panel.first)}
        defaults["mappings"] = [{"type": "value", "options": texts}]
    if panel.stacked:
        defaults["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 40}
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
        **({"options": {"textMode": "name"}} if panel.kind == "stat" and "" not in panel.queries else {}),
    }
