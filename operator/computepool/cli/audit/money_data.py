"""What accelerators cost and what they do, for programs. The names of the fields are documented in docs/audit.md."""

from decimal import Decimal
from typing import Any

from computepool.audit.accelerators import units
from computepool.audit.costs import Costs
from computepool.audit.demand import WorkloadName
from computepool.audit.waste import Uses, Waste
from computepool.cli.audit.amounts import exact


def costs_data(found: Costs) -> dict[str, Any]:
    """Return costs as plain values: amounts of money are decimals as texts."""
    return {
        "perHour": exact(found.per_hour) if found.known else None,
        "acceleratorsWithoutPrice": units(found.unpriced),
        "providersOfNoNode": list(found.strangers),
        "pricesOfNoAccelerator": list(found.unmatched),
        "providers": [
            {
                "provider": provider.provider,
                "accelerators": units(provider.accelerators),
                "acceleratorsWithoutPrice": units(provider.unpriced),
                "perHour": _known(provider.per_hour, provider.accelerators, provider.unpriced),
                "usedPerHour": _known(provider.used_per_hour, provider.accelerators, provider.unpriced),
                "unusedPerHour": _known(provider.unused_per_hour, provider.accelerators, provider.unpriced),
                "pricesFrom": [str(source) for source in provider.sources],
            }
            for provider in found.providers
        ],
        "workloads": [
            {
                **_name(workload.name),
                "accelerators": units(workload.accelerators),
                "acceleratorsWithoutPrice": units(workload.unpriced),
                "perHour": _known(workload.per_hour, workload.accelerators, workload.unpriced),
            }
            for workload in found.workloads
        ],
    }


def waste_data(found: Waste | None) -> dict[str, Any] | None:
    """Return waste as plain values; None where it is not known."""
    if found is None:
        return None
    return {
        "windowSeconds": found.window,
        **_uses(found.uses),
        "providers": [
            {
                "provider": provider.provider,
                **_uses(provider.uses),
                "free": units(provider.free),
                "freeWithoutPrice": units(provider.free_unpriced),
                "freePerHour": _known(provider.free_per_hour, provider.free, provider.free_unpriced),
                "nodesWithoutUse": provider.empty_nodes,
            }
            for provider in found.providers
        ],
        "workloads": [{**_name(workload.name), **_uses(workload.uses)} for workload in found.workloads],
    }


def _name(found: WorkloadName) -> dict[str, str]:
    return {"namespace": found.namespace, "kind": found.kind, "name": found.name}


def _uses(found: Uses) -> dict[str, Any]:
    return {
        "held": units(found.held),
        "busy": units(found.busy),
        "holdsMemory": units(found.holds_memory),
        "idle": units(found.idle),
        "unknown": units(found.unknown),
        "holdsMemoryPerHour": _known(found.memory_per_hour, found.holds_memory, found.memory_unpriced),
        "holdsMemoryWithoutPrice": units(found.memory_unpriced),
        "idlePerHour": _known(found.idle_per_hour, found.idle, found.idle_unpriced),
        "idleWithoutPrice": units(found.idle_unpriced),
    }


def _known(amount: Decimal, accelerators: int, unpriced: int) -> str | None:
    """Write a cost; None where there are accelerators, and the price of none is known."""
    return None if accelerators and unpriced >= accelerators else exact(amount)
