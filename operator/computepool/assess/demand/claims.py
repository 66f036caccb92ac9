"""Which pool a pod belongs to: of those that select it, the oldest."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.model.labels import Labels, Selector

NAME_LABEL: Final = "kubernetes.io/metadata.name"


class Claimant(msgspec.Struct, frozen=True):
    """What a pool selects."""

    pool: str
    resource: str
    namespaces: Selector
    pods: Selector

    def claims(self, pod: Pod, namespace: Labels | None) -> bool | None:
        """Say whether the pool selects the pod: it requests the accelerator, and both selectors match.

        None: that hangs on labels of a namespace that was not seen yet (`namespace` is None).
        """
        if not request_of(pod, self.resource) or not self.pods.matches(pod.labels):
            return False
        if namespace is not None:
            return self.namespaces.matches(namespace)
        name = {NAME_LABEL: pod.namespace}
        known = [one.matches(name) for one in self.namespaces.requirements if one.key == NAME_LABEL]
        if not all(known):
            return False
        return True if len(known) == len(self.namespaces.requirements) else None


def claimants(pools: Iterable[ComputePool]) -> tuple[Claimant, ...]:
    """Return what each pool selects, the oldest pool first; equally old ones by name."""
    return tuple(
        Claimant(
            pool=pool.name,
            resource=pool.spec.accelerator.resource_name,
            namespaces=pool.spec.workloads.namespace_selector.compiled(),
            pods=pool.spec.workloads.pod_selector.compiled(),
        )
        for pool in sorted(pools, key=lambda p: (str(p.metadata.creation_timestamp or ""), p.name))
    )


def claim(pod: Pod, by_age: Iterable[Claimant], namespaces: Mapping[str, Labels]) -> tuple[str, ...]:
    """Return the pools that select the pod, the one that keeps it first.

    Of a namespace that was not seen yet only its name is known, which every namespace carries as a label. Where an
    older pool may select the pod by other labels, nobody gets it before they are seen.
    """
    labels = namespaces.get(pod.namespace)
    found: list[str] = []
    for one in by_age:
        claims = one.claims(pod, labels)
        if claims:
            found.append(one.pool)
        elif claims is None and not found:
            return ()
    return tuple(found)
