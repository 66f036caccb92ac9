"""A pool's providers in the form that fit and placement work with."""

from decimal import Decimal

import msgspec

from computepool.model.api import CapacityType, ComputePool, Provider
from computepool.model.quantity import MILLI
from computepool.model.selectors import Requirement, Selector, Toleration, compile_selector
from computepool.model.snapshot import Shape


class Target(msgspec.Struct, frozen=True):
    """One provider of a pool."""

    index: int
    """Its place in spec.providers: 0 is the primary."""
    name: str
    selector: Selector
    tolerations: tuple[Toleration, ...]
    """What a pod needs to run there; none for the primary."""
    on_demand: bool
    limit: int | None
    """maxAccelerators, in thousandths."""
    timeout: float
    """Seconds that a pod sent there is given to be bound."""
    price: Decimal | None
    drain: bool = False
    """Whether it is taken out of use by hand."""

    @property
    def primary(self) -> bool:
        """Whether pods go there by themselves."""
        return self.index == 0

    def tolerated_by(self, shape: Shape) -> bool:
        """Say whether the pod has every toleration of the provider already: nothing is left to add."""
        return all(any(_covers(have, want) for have in shape.tolerations) for want in self.tolerations)

    def contradicts(self, shape: Shape) -> bool:
        """Say whether no node of the provider, present or future, can satisfy the pod's own selectors.

        To be asked where no present node does: nodes that a pod's affinity names are not looked for here.
        """
        return all(
            any(
                _disjoint(asked, given)
                for asked in alternative
                for given in self.selector.requirements
                if asked.key == given.key
            )
            for alternative in shape.alternatives()
        )


def targets_of(pool: ComputePool) -> tuple[Target, ...]:
    """Return the pool's providers in the order of the spec."""
    return tuple(_target(index, provider) for index, provider in enumerate(pool.spec.providers))


def in_preference(targets: tuple[Target, ...], *, cheapest: bool) -> tuple[Target, ...]:
    """Return the standby providers, most preferred first.

    Cheapest sorts by price; one without a price comes last, and equal prices keep the order of the spec.
    """
    standbys = targets[1:]
    if not cheapest:
        return standbys
    return tuple(sorted(standbys, key=lambda t: (t.price is None, t.price or Decimal(0), t.index)))


def _target(index: int, provider: Provider) -> Target:
    capacity = provider.capacity
    tolerations = provider.effective_tolerations() if index else ()
    return Target(
        index=index,
        name=provider.name,
        selector=compile_selector(provider.node_selector),
        tolerations=tuple(Toleration(t.key, str(t.operator), t.value, str(t.effect or "")) for t in tolerations),
        on_demand=capacity.type is CapacityType.ON_DEMAND,
        limit=None if capacity.max_accelerators is None else capacity.max_accelerators * MILLI,
        timeout=float(provider.provision_timeout()),
        price=provider.price(),
        drain=provider.drain,
    )


def _covers(have: Toleration, want: Toleration) -> bool:
    if have.effect and have.effect != want.effect:
        return False
    if have.key and have.key != want.key:
        return False
    if have.operator == "Exists":
        return True
    equal = have.operator in ("", "Equal") and want.operator in ("", "Equal")
    return equal and bool(have.key) and have.value == want.value


def _disjoint(asked: Requirement, given: Requirement) -> bool:
    match asked.operator, given.operator:
        case "In", "In":
            return not set(asked.values) & set(given.values)
        case "In", "NotIn":
            return set(asked.values) <= set(given.values)
        case "NotIn", "In":
            return set(given.values) <= set(asked.values)
        case ("DoesNotExist", "In" | "Exists") | ("In" | "Exists", "DoesNotExist"):
            return True
    return False
