"""What an audit found, for programs: JSON, YAML and CSV. The names of the fields are documented in docs/audit.md."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from computepool.audit.accelerators import units
from computepool.audit.auditing import Audit
from computepool.audit.demand import Workload
from computepool.audit.gaps import StrandedWorkload
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import Concentration, SupplyRow
from computepool.cli.audit.money_data import costs_data, waste_data
from computepool.report.formatting import moment

COLUMNS: Final = (
    "resource",
    "provider",
    "region",
    "zone",
    "nodeGroup",
    "capacityType",
    "model",
    "nodes",
    "capacity",
    "allocatable",
    "used",
    "free",
    "unhealthy",
)
"""The columns of CSV: one row for all nodes that have the same place."""


def as_data(found: Audit) -> dict[str, Any]:
    """Return an audit as plain values."""
    facilities = found.cluster.facilities
    return {
        "source": found.cluster.source,
        "readAt": moment(found.cluster.now).isoformat(timespec="seconds"),
        "verdict": None if found.worst is None else _loss(found.worst),
        "checks": [
            {"name": str(check.name), "passed": check.passed, "message": check.message, "remedy": check.remedy}
            for check in found.checks
        ],
        "providers": [
            {"name": provider.name, "evidence": provider.evidence, "nodes": len(provider.nodes)}
            for provider in found.providers
        ],
        "supply": [_supply(row) for row in found.supply],
        "concentration": {
            "provider": _share(found.largest_provider),
            "region": _share(found.largest_region),
            "spot": _share(found.spot),
        },
        "workloads": [_workload(workload) for workload in found.workloads],
        "losses": [_loss(loss) for loss in found.losses],
        "costs": costs_data(found.costs),
        "waste": waste_data(found.waste),
        "cluster": {
            "version": facilities.version,
            "apis": None if facilities.apis is None else sorted(facilities.apis),
            "autoscalers": list(facilities.autoscalers),
            "notRead": dict(found.cluster.missing),
            "unreadable": list(found.cluster.unreadable),
        },
    }


def as_csv(found: Audit) -> str:
    """Return the supply as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_supply(row) for row in found.supply)
    return text.getvalue().rstrip("\n")


def _supply(row: SupplyRow) -> dict[str, Any]:
    names = (row.resource, row.provider, row.region, row.zone, row.node_group, row.capacity_type, row.model)
    amounts = (row.capacity, row.allocatable, row.used, row.free, row.unhealthy)
    return dict(zip(COLUMNS, (*names, row.nodes, *map(units, amounts)), strict=True))


def _share(found: Concentration | None) -> dict[str, Any] | None:
    return None if found is None else {"name": found.name, "share": round(found.share, 4)}


def _workload(found: Workload) -> dict[str, Any]:
    return {
        "namespace": found.name.namespace,
        "kind": found.name.kind,
        "name": found.name.name,
        "resource": found.resource,
        "pods": found.pods,
        "accelerators": units(found.accelerators),
        "waitingPods": found.waiting_pods,
        "waitingAccelerators": units(found.waiting_accelerators),
        "providers": _numbers(found.providers),
        "priority": found.priority,
        "gang": found.gang,
        "disruptionBudgets": dict(found.budgets),
        "pins": [str(pin) for pin in found.pins],
        "pinnedBy": list(found.pinned_by),
    }


def _loss(loss: JudgedLoss) -> dict[str, Any]:
    return {
        "lost": [{"kind": str(part.kind), "name": part.name} for part in loss.parts],
        "nodes": loss.nodes,
        "capacity": units(loss.capacity),
        "held": units(loss.held),
        "placed": units(loss.placed),
        "moves": _numbers(loss.moves),
        "onDemand": _numbers(loss.on_demand),
        "awaitsNodeDeletion": units(loss.awaits_deletion),
        "withoutPool": units(loss.assumptions.without_pool),
        "observing": _numbers(loss.assumptions.observing),
        "notModelled": units(loss.assumptions.unmodelled),
        "constraintsNotModelled": list(loss.assumptions.constraints),
        "notJudged": units(loss.assumptions.not_judged),
        "stranded": units(loss.stranded),
        "shortByModel": _numbers(loss.short),
        "workloads": _stranded(loss.workloads),
        "remedies": [{"text": remedy.text, "accelerators": units(remedy.accelerators)} for remedy in loss.remedies],
    }


def _stranded(found: Sequence[StrandedWorkload]) -> list[dict[str, Any]]:
    return [
        {
            "namespace": workload.name.namespace,
            "kind": workload.name.kind,
            "name": workload.name.name,
            "pods": workload.pods,
            "accelerators": units(workload.accelerators),
            "reasons": _numbers(workload.reasons),
            "rejected": dict(workload.rejected),
            "helps": list(workload.helps),
        }
        for workload in found
    ]


def _numbers(amounts: Mapping[str, int]) -> dict[str, int | float]:
    return {name: units(amount) for name, amount in amounts.items()}
