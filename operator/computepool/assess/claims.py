"""Which pool a pod belongs to: of those that select it, the oldest."""

from collections.abc import Iterable, Mapping

import msgspec

from computepool.model.api import ComputePool
from computepool.model.selectors import Labels, Selector, compile_selector
from computepool.model.snapshot import Pod


class Claimant(msgspec.Struct, frozen=True):
    """What a pool selects."""

    pool: str
    resource: str
    namespaces: Selector
    pods: Selector

    def claims(self, pod: Pod, namespace: Labels) -> bool:
        """Say whether the pool selects the pod: it requests the accelerator, and both selectors match."""
        return (
            pod.shape.request(self.resource) > 0
            and self.pods.matches(pod.labels)
            and self.namespaces.matches(namespace)
        )


def claimants(pools: Iterable[ComputePool]) -> tuple[Claimant, ...]:
    """Return what each pool selects, the oldest pool first; equally old ones by name."""
    return tuple(
        Claimant(
            pool=pool.name,
            resource=pool.spec.accelerator.resource_name,
            namespaces=compile_selector(pool.spec.workloads.namespace_selector),
            pods=compile_selector(pool.spec.workloads.pod_selector),
        )
        for pool in sorted(pools, key=lambda p: (str(p.metadata.creation_timestamp or ""), p.name))
    )


def claim(pod: Pod, by_age: Iterable[Claimant], namespaces: Mapping[str, Labels]) -> tuple[str, ...]:
    """Return the pools that select the pod, the one that keeps it first.

    A namespace whose labels were not seen yet is matched by its name alone, which every namespace carries as a label.
    """
    labels = namespaces.get(pod.namespace, {"kubernetes.io/metadata.name": pod.namespace})
    return tuple(one.pool for one in by_age if one.claims(pod, labels))
