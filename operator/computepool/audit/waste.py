"""Accelerators that pods hold and do not use, and what could be given back before more is bought.

An accelerator is idle only if it was seen for the window, did nothing in it, and holds next to no memory. One that
holds memory without activity may be a server with its model loaded that waits for requests, so it is told apart. What
was not seen is unknown: neither idle nor busy. Amounts of accelerators are in thousandths.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from computepool.audit.activity import Device, Measures, devices_by_pod
from computepool.audit.cluster import AuditedPod, Cluster
from computepool.audit.costs import NOTHING
from computepool.audit.demand import WorkloadName, workload_of
from computepool.audit.prices import Pricing, cost
from computepool.audit.supply import free_on_nodes, usable
from computepool.decide.move.eligibility import node_bound
from computepool.model.accelerators import devices_of
from computepool.model.quantity import MILLI

IDLE_PERCENT: Final = 1.0
"""The most activity of a device that does nothing. Its monitoring may cause so much."""
HELD_MIB: Final = 1024.0
"""A process that has only opened a device holds less, and a model more."""
SEEN: Final = 0.75
"""The share of the window for which a device must have been seen, and its pod have run."""


class Use(StrEnum):
    """What an accelerator does that a pod holds, the surest use first."""

    BUSY = "busy"
    UNKNOWN = "unknown"
    HOLDS_MEMORY = "holdsMemory"
    IDLE = "idle"


class Uses(msgspec.Struct, frozen=True):
    """Accelerators that pods hold, by what they do, and the cost for an hour of those that do nothing."""

    busy: int = 0
    unknown: int = 0
    holds_memory: int = 0
    idle: int = 0
    memory_per_hour: Decimal = NOTHING
    idle_per_hour: Decimal = NOTHING
    memory_unpriced: int = 0
    idle_unpriced: int = 0
    """Of those that hold memory, and of those that are idle: those whose price is not known. They are in no cost."""

    @property
    def held(self) -> int:
        """All that pods hold."""
        return self.busy + self.unknown + self.holds_memory + self.idle

    @property
    def known(self) -> int:
        """Those of which it is known what they do."""
        return self.held - self.unknown

    def plus(self, other: "Uses") -> "Uses":
        """Return the sum."""
        return Uses(
            busy=self.busy + other.busy,
            unknown=self.unknown + other.unknown,
            holds_memory=self.holds_memory + other.holds_memory,
            idle=self.idle + other.idle,
            memory_per_hour=self.memory_per_hour + other.memory_per_hour,
            idle_per_hour=self.idle_per_hour + other.idle_per_hour,
            memory_unpriced=self.memory_unpriced + other.memory_unpriced,
            idle_unpriced=self.idle_unpriced + other.idle_unpriced,
        )


NO_USES: Final = Uses()


class WorkloadWaste(msgspec.Struct, frozen=True):
    """What the accelerators of a workload do."""

    name: WorkloadName
    uses: Uses


class ProviderWaste(msgspec.Struct, frozen=True):
    """What could be given back of a provider: what is idle, and what no pod holds."""

    provider: str
    uses: Uses
    free: int
    """Those that no pod holds, on nodes that work."""
    free_per_hour: Decimal
    free_unpriced: int
    empty_nodes: int
    """Nodes that could be given back whole: they work, and have no pods but idle pods and their own agents."""

    @property
    def back(self) -> int:
        """What could be given back."""
        return self.free + self.uses.idle

    @property
    def back_unpriced(self) -> int:
        """Of this: what has no known price."""
        return self.free_unpriced + self.uses.idle_unpriced

    @property
    def back_per_hour(self) -> Decimal:
        """What it costs for an hour, as far as the price is known."""
        return self.free_per_hour + self.uses.idle_per_hour


class Waste(msgspec.Struct, frozen=True):
    """What accelerators do that pods hold."""

    window: float
    """In seconds."""
    workloads: tuple[WorkloadWaste, ...]
    """Those with most idle accelerators first."""
    providers: tuple[ProviderWaste, ...]
    """Those that could give back most first."""

    @property
    def uses(self) -> Uses:
        """All workloads together."""
        return _sum(found.uses for found in self.workloads)


def waste_of(
    cluster: Cluster, measures: Measures, pricing: Pricing, provider_of: Mapping[str, str], resources: Sequence[str]
) -> Waste:
    """Return what the accelerators do that the pods of workloads hold."""
    devices = devices_by_pod(measures)
    by_workload: dict[WorkloadName, Uses] = {}
    by_provider: dict[str, Uses] = {}
    by_node: dict[str, Uses] = {}
    wanted = frozenset(resources)
    for found in cluster.pods:
        pod = found.pod
        held = [(name, amount) for name, amount in devices_of(pod.shape) if name in wanted and amount]
        if not pod.node or not held:
            continue
        used = _uses(found, held, devices.get(pod.uid, ()), measures.window, cluster.now, pricing)
        by_node[pod.node] = by_node.get(pod.node, NO_USES).plus(used)
        if node_bound(pod):
            continue
        name, provider = workload_of(found, cluster.owners), provider_of.get(pod.node, "")
        by_workload[name] = by_workload.get(name, NO_USES).plus(used)
        by_provider[provider] = by_provider.get(provider, NO_USES).plus(used)
    made = [WorkloadWaste(name, used) for name, used in by_workload.items()]
    return Waste(
        window=measures.window,
        workloads=tuple(
            sorted(made, key=lambda found: (-found.uses.idle, -found.uses.holds_memory, -found.uses.held, found.name))
        ),
        providers=_providers(cluster, pricing, provider_of, resources, by_provider, by_node),
    )


def use_of(device: Device, age: float, window: float) -> Use:
    """Say what a device does. `age`: for how long its pod has run, in seconds."""
    if device.active is None:
        return Use.UNKNOWN
    if device.active > IDLE_PERCENT:
        return Use.BUSY
    if device.memory is None or min(device.seen, age / window) < SEEN:
        return Use.UNKNOWN
    return Use.HOLDS_MEMORY if device.memory > HELD_MIB else Use.IDLE


def _uses(
    found: AuditedPod,
    held: Sequence[tuple[str, int]],
    devices: Iterable[Device],
    window: float,
    now: float,
    pricing: Pricing,
) -> Uses:
    """Say what the accelerators of a pod do.

    Devices of two kinds can't be told apart by their series, so they are unknown. If more devices were seen than the
    pod holds, the busiest count: then what is called idle is not too much.
    """
    total = sum(amount for _, amount in held)
    if len(held) > 1:
        return Uses(unknown=total)
    age = 0.0 if found.pod.started is None else now - found.pod.started
    order = list(Use)
    seen = sorted((use_of(device, age, window) for device in devices), key=order.index)[: total // MILLI]
    counts = {use: seen.count(use) * MILLI for use in Use}
    counts[Use.UNKNOWN] += total - len(seen) * MILLI
    price = pricing.price(found.pod.node, held[0][0])
    memory, idle = counts[Use.HOLDS_MEMORY], counts[Use.IDLE]
    return Uses(
        busy=counts[Use.BUSY],
        unknown=counts[Use.UNKNOWN],
        holds_memory=memory,
        idle=idle,
        memory_per_hour=NOTHING if price is None else cost(memory, price.per_hour),
        idle_per_hour=NOTHING if price is None else cost(idle, price.per_hour),
        memory_unpriced=memory if price is None else 0,
        idle_unpriced=idle if price is None else 0,
    )


def _providers(
    cluster: Cluster,
    pricing: Pricing,
    provider_of: Mapping[str, str],
    resources: Sequence[str],
    by_provider: Mapping[str, Uses],
    by_node: Mapping[str, Uses],
) -> tuple[ProviderWaste, ...]:
    found: dict[str, ProviderWaste] = {}
    unneeded = _unneeded(cluster, resources, by_node)
    for node, free in free_on_nodes(cluster, resources).items():
        name = provider_of.get(node, "")
        before = found.get(name) or ProviderWaste(name, by_provider.get(name, NO_USES), 0, NOTHING, 0, 0)
        per_hour, unpriced = NOTHING, 0
        for resource, amount in free.items():
            price = pricing.price(node, resource)
            if price is None:
                unpriced += amount
            else:
                per_hour += cost(amount, price.per_hour)
        found[name] = msgspec.structs.replace(
            before,
            free=before.free + sum(free.values()),
            free_per_hour=before.free_per_hour + per_hour,
            free_unpriced=before.free_unpriced + unpriced,
            empty_nodes=before.empty_nodes + (node in unneeded),
        )
    return tuple(sorted(found.values(), key=lambda one: (-one.back_per_hour, -one.back, one.provider)))


def _unneeded(cluster: Cluster, resources: Collection[str], by_node: Mapping[str, Uses]) -> frozenset[str]:
    """Return the names of the nodes that work and that no pod needs but their own agents and idle pods.

    A node that does not work is broken, and perhaps not for long. Work without accelerators needs its node as well.
    """
    wanted = frozenset(resources)
    needed = {name for name, used in by_node.items() if used.held != used.idle}
    for pod in (found.pod for found in cluster.pods):
        holds = pod.node and any(name in wanted for name, amount in devices_of(pod.shape) if amount)
        # What a pod does that holds accelerators is in `by_node` already.
        if not pod.belongs_to_node and not holds:
            needed.add(pod.node or pod.nominated)
    return frozenset(found.node.name for found in cluster.nodes if usable(found) and found.node.name not in needed)


def _sum(uses: Iterable[Uses]) -> Uses:
    total = NO_USES
    for one in uses:
        total = total.plus(one)
    return total
