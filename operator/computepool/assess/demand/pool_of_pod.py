"""Which pool a pod belongs to: the oldest pool that selects it."""

from collections.abc import Iterable, Mapping

import msgspec

from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.model.labels import Labels, Selector
from computepool.model.well_known_keys import NAMESPACE_NAME_LABEL


class Claimant(msgspec.Struct, frozen=True):
    """A pool with its selectors."""

    pool: str
    resource: str
    namespaces: Selector
    pods: Selector

    def claims(self, pod: Pod, namespace: Labels | None) -> bool | None:
        """Say whether the pool selects the pod: it requests the accelerator, and both selectors match.

        None: it depends on labels of a namespace that was not seen yet (`namespace` is None).
        """
        if not request_of(pod, self.resource) or not self.pods.matches(pod.labels):
            return False
        if namespace is not None:
            return self.namespaces.matches(namespace)
        name = {NAMESPACE_NAME_LABEL: pod.namespace}
        by_name = [need.matches(name) for need in self.namespaces.requirements if need.key == NAMESPACE_NAME_LABEL]
        if not all(by_name):
            return False
        return True if len(by_name) == len(self.namespaces.requirements) else None


def claimants(pools: Iterable[ComputePool]) -> tuple[Claimant, ...]:
    """Return the pools with their selectors, the oldest first; pools of equal age by name."""
    return tuple(
        Claimant(
            pool=pool.name,
            resource=pool.spec.accelerator.resource_name,
            namespaces=pool.spec.workloads.namespace_selector.compiled(),
            pods=pool.spec.workloads.pod_selector.compiled(),
        )
        for pool in sorted(pools, key=lambda pool: (str(pool.metadata.creation_timestamp or ""), pool.name))
    )


def claim(pod: Pod, by_age: Iterable[Claimant], namespaces: Mapping[str, Labels]) -> tuple[str, ...]:
    """Return the pools that select the pod, the oldest first: it keeps the pod.

    A namespace that was not seen yet has one known label, its name. If an older pool may select the pod by other
    labels, no pool gets the pod before these labels are seen.
    """
    labels = namespaces.get(pod.namespace)
    found: list[str] = []
    for claimant in by_age:
        claims = claimant.claims(pod, labels)
        if claims:
            found.append(claimant.pool)
        elif claims is None and not found:
            return ()
    return tuple(found)
