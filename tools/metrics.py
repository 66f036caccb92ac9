"""The reference of metrics, from the registry that the operator serves: docs/reference/metrics.md."""

from __future__ import annotations

from collections.abc import Iterator

from computepool.report.metrics import Metrics

_INTRO = """<!-- Made by `make generate` from operator/computepool/report/metric_help.py: do not edit. -->
# Metrics

The operator's pods serve these metrics on port 8080 under `/metrics`. No label names a pod or a node. Counters begin at
zero as soon as the operator knows the pool, so `increase()` sees the first occurrence.

| metric | type | meaning |
|---|---|---|
"""


def render() -> str:
    """The page as Markdown."""
    return _INTRO + "".join(_rows(Metrics()))


def _rows(metrics: Metrics) -> Iterator[str]:
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ",".join(metrics.labels[name])
        series = f"{name}{{{labels}}}" if labels else name
        yield f"| `{series}` | {family.type} | {family.documentation} |\n"
