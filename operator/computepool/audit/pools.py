"""The pools by which a loss is judged: the cluster's own ComputePools, then a pool over all providers for other pods.

A judged pool differs from the pool that it is made from in a few fields. Pods need not have waited, nobody waits for a
person in mode Observe, and no pod preempts another: what one pod gains the other would lose. So the outcome is what the
operator would do in the end.

Providers that are only found get a label in memory, by which the pool selects them. No object of the cluster changes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from computepool.assess.capacity.startup import startup_taints
from computepool.assess.health.faults import AUTOSCALER_TAINTS
from computepool.audit.accelerators import is_accelerator
from computepool.audit.cluster import AuditedNode, AuditedPod, Cluster
from computepool.audit.providers import FoundProvider, free_name
from computepool.model.accelerators import request_of
from computepool.model.api import PROVIDER_KEY, UNAVAILABLE_KEY, ComputePool, Mode
from computepool.model.api.health import DEFAULT_REMOVAL_TAINTS, DEFAULT_STARTUP_TAINTS
from computepool.model.api.provider import Preemption
from computepool.model.api.spec import AdmissionMode
from computepool.model.cluster import Node
from computepool.model.taints import Taint

FOUND_LABEL: Final = "computepool.io/found-provider"
"""The label that nodes get in memory alone."""
MISSING: Final = ("a-first-provider", "a-second-provider")
"""Providers without nodes: a pool needs two, and a cluster may have one. Readers see these names in what would help."""
MOST_PROVIDERS: Final = 16
MOST_TOLERATIONS: Final = 8
NEURON: Final = ("aws.amazon.com/neuron", "aws.amazon.com/neurondevice", "aws.amazon.com/neuroncore")
_DAY: Final = 86_400.0
_LONGEST_PROVIDER: Final = 63
_PASSING: Final = AUTOSCALER_TAINTS.union(DEFAULT_REMOVAL_TAINTS, (UNAVAILABLE_KEY,))
_STARTUP: Final = startup_taints(DEFAULT_STARTUP_TAINTS)
_PASSING_WORDS: Final = ("not-ready", "notready", "uninitialized", "unregistered", "unhealthy", "maintenance", "drain")
"""A taint with such a word in its key, which a person or an agent has set, goes with the state that it names."""


class JudgedPool(msgspec.Struct, frozen=True):
    """A pool by which losses are judged."""

    pool: ComputePool
    own: bool
    """Whether it is a pool of the cluster, and not a pool over the providers that were found."""

    @property
    def resource(self) -> str:
        """The name of its accelerator."""
        return self.pool.spec.accelerator.resource_name


def judged_pools(
    cluster: Cluster, providers: Sequence[FoundProvider], prices: Mapping[str, Decimal], resources: Iterable[str]
) -> tuple[JudgedPool, ...]:
    """Return the pools, the oldest first: the cluster's own, then one for each accelerator over all providers."""
    own = [JudgedPool(_judged(pool), own=True) for pool in cluster.pools]
    by_age = sorted(own, key=lambda judged: (str(judged.pool.metadata.creation_timestamp or ""), judged.pool.name))
    taken = {pool.name for pool in cluster.pools}
    made = [
        JudgedPool(_over_all(cluster, providers, prices, resource, _free_name(taken, number)), own=False)
        for number, resource in enumerate(resources)
    ]
    return (*by_age, *made)


def resources_of(cluster: Cluster, given: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the accelerators of a cluster's nodes and pods, the most frequent first."""
    known = frozenset(given)
    count: Counter[str] = Counter()
    for found in cluster.nodes:
        count.update({name: amount for name, amount in found.node.capacity.items() if is_accelerator(name, known)})
    for pod in cluster.pods:
        count.update({name: 0 for name, _ in pod.pod.shape.requests if is_accelerator(name, known)})
    requested = {name for pod in cluster.pods for name, _ in pod.pod.shape.requests}
    return tuple(sorted(_without_twins(count, requested), key=lambda name: (-count[name], name)))


def _without_twins(names: Iterable[str], requested: Collection[str]) -> Iterable[str]:
    """Leave out the names under which a node reports the same devices once more, as AWS Neuron's plugin does.

    The names that pods request stay; the first name if pods request none of them.
    """
    known = set(names)
    twins = [name for name in NEURON if name in known]
    kept = [name for name in twins if name in requested] or twins[:1]
    return known - set(twins) | set(kept)


def labelled(found: AuditedNode, provider: str) -> Node:
    """Return a node with the label of its provider."""
    return msgspec.structs.replace(found.node, labels={**found.node.labels, FOUND_LABEL: provider})


def order_of(
    providers: Sequence[FoundProvider], pods: Iterable[AuditedPod], resource: str, nodes: Mapping[str, Node]
) -> list[FoundProvider]:
    """Return the providers that have the accelerator, in order: where most of it is held comes first."""
    held: Counter[str] = Counter()
    for found in pods:
        held[found.pod.node] += request_of(found.pod, resource)

    def rank(provider: FoundProvider) -> tuple[int, int, str]:
        used = sum(held[name] for name in provider.nodes)
        size = sum(nodes[name].capacity.get(resource, 0) for name in provider.nodes)
        return (-used, -size, provider.name)

    having = [provider for provider in providers if any(nodes[name].capacity.get(resource) for name in provider.nodes)]
    return sorted(having, key=rank)


def shared_taints(nodes: Iterable[Node]) -> tuple[Taint, ...]:
    """Return the taints against pods that all of these nodes carry and that are there to stay, sorted."""
    return tuple(taint for taint in blocking_taints(nodes) if not passes(taint))


def blocking_taints(nodes: Iterable[Node]) -> tuple[Taint, ...]:
    """Return the taints against pods that all of these nodes carry now, sorted."""
    sets = [frozenset(taint for taint in node.taints if taint.blocks) for node in nodes]
    common = frozenset.intersection(*sets) if sets else frozenset[Taint]()
    return tuple(sorted(common, key=lambda taint: (taint.key, taint.value, taint.effect)))


def passes(taint: Taint) -> bool:
    """Say whether a taint stands for a state that passes: the node starts, is faulty, is maintained or goes away."""
    if taint.transient or taint.key in _PASSING or _STARTUP.lists(taint):
        return True
    key = taint.key.lower()
    return any(word in key for word in _PASSING_WORDS)


def _over_all(
    cluster: Cluster, providers: Sequence[FoundProvider], prices: Mapping[str, Decimal], resource: str, name: str
) -> ComputePool:
    nodes = {found.node.name: found.node for found in cluster.nodes}
    ordered = order_of(providers, cluster.pods, resource, nodes)
    entries = [
        _provider(found, [nodes[node] for node in found.nodes if nodes[node].capacity.get(resource)], index, prices)
        for index, found in enumerate(ordered[:MOST_PROVIDERS])
    ]
    while len(entries) < 2:
        taken = {entry["name"] for entry in entries}
        entries.append(_entry(free_name(MISSING[len(entries)], taken, _LONGEST_PROVIDER)))
    return ComputePool.from_object(
        {
            "metadata": {
                "name": name,
                "uid": name,
                "creationTimestamp": _youngest(cluster).isoformat(),
            },
            "spec": {
                "accelerator": {"resourceName": resource},
                "providers": entries,
                "saturation": {"pendingSeconds": 0},
                "admission": {"mode": "Off"},
            },
        }
    )


def _youngest(cluster: Cluster) -> datetime:
    """Return a time after the creation of every pool: the oldest pool keeps a pod. Files may have any date."""
    times = [pool.metadata.creation_timestamp for pool in cluster.pools]
    latest = max((at.timestamp() for at in times if at is not None), default=0.0)
    return datetime.fromtimestamp(max(cluster.now, latest) + _DAY, UTC)


def _provider(found: FoundProvider, nodes: Sequence[Node], index: int, prices: Mapping[str, Decimal]) -> dict[str, Any]:
    entry = _entry(found.name)
    if index:
        own = {"key": PROVIDER_KEY, "operator": "Equal", "value": found.name, "effect": "NoSchedule"}
        shared = [
            {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
            for taint in shared_taints(nodes)
            if taint.key != PROVIDER_KEY
        ]
        entry["tolerations"] = [own, *shared[: MOST_TOLERATIONS - 1]]
        entry["capacity"] = {"preemption": "Never"}
    if (price := prices.get(found.name)) is not None:
        entry["pricePerAcceleratorHour"] = f"{price:f}"
    return entry


def _entry(name: str) -> dict[str, Any]:
    return {"name": name, "nodeSelector": {"matchLabels": {FOUND_LABEL: name}}}


def _judged(pool: ComputePool) -> ComputePool:
    spec = pool.spec
    providers = tuple(
        provider.model_copy(update={"capacity": provider.capacity.model_copy(update={"preemption": Preemption.NEVER})})
        for provider in spec.providers
    )
    changes = {
        "mode": Mode.ENFORCE,
        "providers": providers,
        "saturation": spec.saturation.model_copy(update={"pending_seconds": 0, "metrics": ()}),
        "admission": spec.admission.model_copy(update={"mode": AdmissionMode.OFF}),
    }
    return pool.model_copy(update={"spec": spec.model_copy(update=changes)})


def _free_name(taken: set[str], number: int) -> str:
    name = f"audit-{number}"
    while name in taken:
        name += "x"
    return name
