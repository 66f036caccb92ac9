"""A pool's providers, compiled from its spec."""

from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache

import msgspec

from computepool.assess.capacity.capacity_types import KINDS, CapacityKind
from computepool.model.api import PROVIDER_KEY, ComputePool, DrainedPods, Preemption, ProviderSpec, RunningPods
from computepool.model.cluster import Pod, Shape
from computepool.model.labels import Selector
from computepool.model.quantity import MILLI
from computepool.model.taints import Toleration, covered


class Provider(msgspec.Struct, frozen=True):
    """One provider of a pool."""

    index: int
    """Its position in spec.providers: 0 is the primary."""
    name: str
    selector: Selector
    tolerations: tuple[Toleration, ...]
    """The tolerations that a pod needs to run there; none for the primary."""
    kind: CapacityKind
    limit: int | None
    """maxAccelerators, in thousandths."""
    timeout: float
    """How many seconds a pod that was sent there is given to be bound."""
    price: Decimal | None
    preemption: bool = True
    """Whether a pod may be sent there to preempt pods of lower priority."""
    drain: bool = False
    """Whether it is taken out of use by hand, for good or for a drill."""
    drill: bool = False
    """Whether a drill takes it out of use."""
    running_pods: RunningPods = RunningPods.FROM_UNHEALTHY_NODES
    """What becomes of pods that run there if it fails or is drained."""

    @property
    def primary(self) -> bool:
        """Whether pods go there by themselves."""
        return self.index == 0

    @property
    def own_keys(self) -> frozenset[str]:
        """The keys of taints by which a standby's nodes are told apart: this provider's, and the default key."""
        return frozenset((PROVIDER_KEY, *(toleration.key for toleration in self.tolerations)))

    def tolerated_by(self, shape: Shape) -> bool:
        """Say whether the pod has every toleration of the provider already."""
        return _covered(self.tolerations, shape.tolerations)

    def contradicts(self, shape: Shape) -> bool:
        """Say whether no node of the provider, present or future, can satisfy the pod's own selectors.

        Ask only if no present node satisfies them: this does not look for nodes that the pod's affinity names.
        """
        return all(self.selector.excludes(alternative) for alternative in shape.alternatives())


@lru_cache(maxsize=4096)
def _covered(wanted: tuple[Toleration, ...], tolerations: tuple[Toleration, ...]) -> bool:
    # A pass asks this about every pending pod, and the pods of a workload have equal tolerations.
    return covered(wanted, tolerations)


def providers_of(pool: ComputePool) -> tuple[Provider, ...]:
    """Return the pool's providers in the order of the spec."""
    return tuple(
        _provider(index, spec, pool.spec.failover.running_pods) for index, spec in enumerate(pool.spec.providers)
    )


def own_tolerations(pod: Pod, providers: Iterable[Provider]) -> tuple[Toleration, ...]:
    """Return the tolerations of the pod that its controller gave it. `providers`: all of its pool."""
    sent = pod.sent_to
    added = {one for provider in providers if provider.name in sent for one in provider.tolerations}
    return tuple(one for one in pod.shape.tolerations if one not in added)


def in_preference(providers: tuple[Provider, ...], *, cheapest: bool) -> tuple[Provider, ...]:
    """Return the standby providers, most preferred first.

    Cheapest sorts by price. A provider without a price comes last, and equal prices keep the order of the spec.
    """
    standbys = providers[1:]
    if not cheapest:
        return standbys
    return tuple(sorted(standbys, key=lambda by: (by.price is None, by.price or Decimal(0), by.index)))


def _provider(index: int, spec: ProviderSpec, policy: RunningPods) -> Provider:
    capacity = spec.capacity
    tolerations = spec.effective_tolerations() if index else ()
    return Provider(
        index=index,
        name=spec.name,
        selector=spec.node_selector.compiled(),
        tolerations=tuple(toleration.compiled() for toleration in tolerations),
        kind=KINDS[capacity.type],
        limit=None if capacity.max_accelerators is None else capacity.max_accelerators * MILLI,
        timeout=float(spec.provision_timeout()),
        price=spec.price(),
        preemption=capacity.preemption is Preemption.LOWER_PRIORITY,
        drain=spec.drain,
        running_pods=_running_pods(spec, policy),
    )


def _running_pods(spec: ProviderSpec, policy: RunningPods) -> RunningPods:
    """Return what becomes of the provider's running pods. `policy`: what the pool says about all providers."""
    match spec.drain_running_pods:
        case DrainedPods.MOVE:
            return RunningPods.MOVE
        case DrainedPods.LEAVE if policy is RunningPods.MOVE:
            return RunningPods.FROM_UNHEALTHY_NODES
        case _:
            return policy
