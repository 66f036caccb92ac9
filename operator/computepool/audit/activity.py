"""What Prometheus has seen of accelerators over a window of time: their activity and the memory that is held.

The names and labels are those of NVIDIA's dcgm-exporter and of AMD's device-metrics-exporter, old and new. A series
counts for the pod that its labels name, on the node where the pod runs now: the window may also have seen an earlier
pod of the same name, on another node. What is absent stays absent.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.audit.cluster import Cluster
from computepool.model.presets import FIRST_PARTITION, NODE_LABELS
from computepool.observe.signal_answers import node_named
from computepool.prometheus.answers import Labels, Series

POD_LABELS: Final = (("exported_namespace", "exported_pod"), ("namespace", "pod"))
"""Labels that may name the pod. Where a scrape keeps its own labels, `pod` names the exporter."""
DEVICE_LABELS: Final = ("UUID", "gpu", "GPU_I_ID", "gpu_uuid", "gpu_id")
_KEPT: Final = ", ".join((*NODE_LABELS, *DEVICE_LABELS, *(label for pair in POD_LABELS for label in pair)))
_RATIOS: Final = (
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO",
    "DCGM_FI_DEV_GPU_UTIL_RATIO",
)
_PERCENTAGES: Final = (
    "DCGM_FI_DEV_GPU_UTIL",
    f"gpu_gfx_activity{FIRST_PARTITION}",
    f"amd_gpu_gfx_activity{FIRST_PARTITION}",
)
_MEBIBYTES: Final = ("DCGM_FI_DEV_FB_USED", f"gpu_used_vram{FIRST_PARTITION}", f"amd_gpu_used_vram{FIRST_PARTITION}")
_BYTES: Final = ("DCGM_FI_DEV_FB_USED_BYTES",)
_PARTS: Final = 12
"""Moments of the window at which a series must be there to have been seen."""
PRICES: Final = "max by (node, exported_node, instance, exported_instance) (node_gpu_hourly_cost > 0)"
"""OpenCost: an accelerator's price for an hour, by node. It says 0 where it does not know the price."""
PRICE_LABELS: Final = ("exported_node", "node", "exported_instance", "instance")
_LARGEST_PRICE: Final = 1_000_000


Key = tuple[str, ...]
"""The uid of a pod, then what tells a device from others."""


class Measures(msgspec.Struct, frozen=True):
    """What a Prometheus has answered, by device of a pod of the cluster."""

    window: float
    """In seconds."""
    active: Mapping[Key, float] = MappingProxyType({})
    """The highest activity in the window, in percent."""
    memory: Mapping[Key, float] = MappingProxyType({})
    """The most memory that was held in the window, in MiB."""
    seen: Mapping[Key, float] = MappingProxyType({})
    """At how many of the moments the series was there."""
    series: int = 0
    """How many series of activity there were, also of pods that are gone or that no label names."""
    prices: Mapping[str, Decimal] = MappingProxyType({})
    """OpenCost's price of an accelerator for an hour, by name of a node."""
    problem: str = ""
    """Why there is no answer about activity; empty if there is."""
    no_prices: str = ""
    """Why there is no answer about prices; empty if there is."""


class Device(msgspec.Struct, frozen=True):
    """What was seen of one device of a pod."""

    active: float | None = None
    """The highest activity in percent; None if it is not known."""
    memory: float | None = None
    """The most memory that was held, in MiB; None if it is not known."""
    seen: float = 0.0
    """The share of the window for which there are samples, from 0 to 1."""


class Queries(msgspec.Struct, frozen=True):
    """What is asked about activity."""

    active: str
    memory: str
    seen: str


def queries(window: float) -> Queries:
    """Return the queries for a window of so many seconds."""
    over = f"[{window:.0f}s]"
    active = [f"100 * max_over_time({name}{over})" for name in _RATIOS]
    active += [f"max_over_time({name}{over})" for name in _PERCENTAGES]
    memory = [f"max_over_time({name}{over})" for name in _MEBIBYTES]
    memory += [f"max_over_time({name}{over}) / 1048576" for name in _BYTES]
    # Put together first: series of two metrics with the same labels would be duplicates in a range.
    any_of_them = f"max by ({_KEPT}) ({' or '.join((*_RATIOS, *_PERCENTAGES))})"
    return Queries(
        active=f"max by ({_KEPT}) ({' or '.join(active)})",
        memory=f"max by ({_KEPT}) ({' or '.join(memory)})",
        seen=f"count_over_time({any_of_them}[{window:.0f}s:{max(1, window // _PARTS):.0f}s])",
    )


def devices_by_pod(measures: Measures) -> dict[str, tuple[Device, ...]]:
    """Return what was seen of the devices of pods, by uid of the pod."""
    active, memory = measures.active, measures.memory
    found: dict[str, list[Device]] = {}
    for key in active.keys() | memory.keys():
        percent = active.get(key)
        possible = percent is not None and 0.0 <= percent <= 100.0
        device = Device(percent if possible else None, memory.get(key), min(1.0, measures.seen.get(key, 0.0) / _PARTS))
        found.setdefault(key[0], []).append(device)
    return {uid: tuple(devices) for uid, devices in found.items()}


def prices_by_node(cluster: Cluster, series: Iterable[Series]) -> dict[str, Decimal]:
    """Return OpenCost's price of an accelerator by name of a node; a price of 0 is none."""
    nodes = frozenset(found.node.name for found in cluster.nodes)
    found: dict[str, Decimal] = {}
    for one in series:
        node = node_named(one.labels, PRICE_LABELS, nodes.__contains__)
        if node and one.value is not None and 0.0 < one.value < _LARGEST_PRICE:
            price = Decimal(f"{one.value:.6f}")
            found[node] = max(price, found.get(node, price))
    return {node: price for node, price in found.items() if price}


class Owners:
    """Says which pod of a cluster a series belongs to."""

    def __init__(self, cluster: Cluster) -> None:
        """Take the pods that are bound to nodes."""
        self._nodes = frozenset(found.node.name for found in cluster.nodes)
        self._pods = {(found.pod.namespace, found.pod.name): found.pod for found in cluster.pods if found.pod.node}

    def highest(self, series: Iterable[Series]) -> Mapping[Key, float]:
        """Return the highest value of each device of a pod."""
        found: dict[Key, float] = {}
        for one in series:
            if one.value is not None and (key := self._key(one.labels)) is not None:
                found[key] = max(one.value, found.get(key, one.value))
        return found

    def _key(self, labels: Labels) -> Key | None:
        for namespace, name in POD_LABELS:
            pod = self._pods.get((labels.get(namespace, ""), labels.get(name, "")))
            if pod is not None:
                node = node_named(labels, NODE_LABELS, self._nodes.__contains__)
                return None if node not in (None, pod.node) else (pod.uid, *_device(labels))
        return None


def _device(labels: Labels) -> Key:
    """Return what tells the devices of a pod apart. A device that is scraped twice is still one device."""
    return tuple(labels.get(label, "") for label in DEVICE_LABELS)
