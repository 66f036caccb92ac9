"""The queries of the chart's alerts and of its dashboard, and what they ask for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

Json = dict[str, Any]

FILES = Path(__file__).resolve().parents[3] / "charts/computepool/files"


def alerts() -> list[Json]:
    """The rules of all alerts."""
    (group,) = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return list(group["rules"])


def panels() -> list[Json]:
    """The panels of the dashboard."""
    return list(json.loads((FILES / "dashboard.json").read_text())["panels"])


def expressions(pool: str = "inference") -> list[str]:
    """Every query, for that pool and for the last 10 s where Grafana would fill in a time."""
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [rule["expr"] for rule in alerts()] + [
        query.replace("$pool", pool).replace("$__rate_interval", "10s") for query in drawn
    ]


def selectors(query: str) -> list[tuple[promql.VectorSelector, frozenset[str]]]:
    """Every selector of a query, with the labels that the query groups or joins its series by."""
    return list(_selectors(promql.parse(query), frozenset()))


def metric(selector: promql.VectorSelector) -> str:
    """The name of the metric that a selector asks for. Buckets are those of their histogram."""
    return (selector.name or "").removesuffix("_bucket")


def _selectors(node: Any, labels: frozenset[str]) -> Iterator[tuple[promql.VectorSelector, frozenset[str]]]:
    match node:
        case promql.VectorSelector():
            yield node, labels
        case promql.MatrixSelector():
            yield node.vector_selector, labels
        case promql.AggregateExpr():
            yield from _selectors(node.expr, labels | set(node.modifier.labels if node.modifier else ()))
        case promql.BinaryExpr():
            matching = node.modifier.matching if node.modifier else None
            for side in (node.lhs, node.rhs):
                yield from _selectors(side, labels | set(matching.labels if matching else ()))
        case promql.Call():
            for argument in node.args:
                yield from _selectors(argument, labels)
        case promql.NumberLiteral():
            return
        case _:
            raise TypeError(f"no test knows how to read {type(node).__name__}")
