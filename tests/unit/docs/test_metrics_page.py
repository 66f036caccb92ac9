"""docs/metrics.md, held against the metrics and log lines that the operator really has."""

from __future__ import annotations

import re

import msgspec

from computepool.report.metrics import Metrics
from tests.unit.docs.blocks import REPOSITORY, blocks, prose

PAGE = REPOSITORY / "docs/metrics.md"


def test_the_table_names_all_metrics() -> None:
    documented = set(re.findall(r"^\| `(computepool_\w+)(?:\{[\w,]+\})?` \|", prose(PAGE), re.MULTILINE))
    assert documented == _served()


def test_alerts_ask_for_metrics_that_are_served() -> None:
    (alerts,) = (block.text for block in blocks(PAGE) if block.language == "promql")
    assert set(re.findall(r"computepool_\w+", re.sub(r"#.*", "", alerts))) <= _served()


def _served() -> set[str]:
    families = list(Metrics().registry.collect())
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_the_log_line_shown_is_json_as_the_operator_writes_it() -> None:
    (shown,) = (block.text for block in blocks(PAGE) if block.language == "json")
    line = msgspec.json.decode(shown)
    assert line["message"] == "burst"
    assert {"pool", "provider", "reason", "pods", "took_ms"} <= line.keys()
