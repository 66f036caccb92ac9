"""The reference of alerts, from the rules that the chart installs: docs/reference/alerts.md."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

RULES = Path(__file__).resolve().parent.parent / "charts/computepool/files/alerts.yaml"

_INTRO = """<!-- Made by `make generate` from charts/computepool/files/alerts.yaml: do not edit. -->
# Alerts

The chart's value `metrics.prometheusRule.enabled` installs these rules for the Prometheus operator. A Prometheus
without its operator can load [alerts.yaml](../../charts/computepool/files/alerts.yaml) under `rule_files`. The rules
are for the Prometheus of one cluster. Severity `critical` is worth a page, `warning` a ticket.
`ComputePoolProviderFailed` leaves out providers that a person drains. Alerts about stuck and waiting pods, the budget,
moves that ended elsewhere and `Degraded` leave out pools with a [drill](../drill.md) under way.

`metrics.prometheusRule.disabledAlerts` leaves alerts out, and `metrics.prometheusRule.extraRules` adds rules. To change
a threshold, leave the alert out and add your own.

| alert | severity | after | what it means | what to do |
|---|---|---|---|---|
"""


def render() -> str:
    """The page as Markdown."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rows = ""
    for rule in group["rules"]:
        texts = rule["annotations"]
        cells = (
            f"`{rule['alert']}`",
            rule["labels"]["severity"],
            rule.get("for", "at once"),
            _plain(texts["description"]),
            texts["action"],
        )
        rows += f"| {' | '.join(cells)} |\n"
    return _INTRO + rows


def _plain(text: str) -> str:
    """The text with the names of labels in place of their values."""
    named = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"`{\1}`", text)
    return re.sub(r"\{\{ \$value[^}]*\}\}", "`{value}`", named)
