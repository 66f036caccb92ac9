"""The facts that every step of a pass reads."""

from functools import cached_property

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.providers import Provider, in_preference
from computepool.model.accelerators import MOST_ON_A_NODE, request_of
from computepool.model.api import Placement, PoolSpec
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState


class Context:
    """The facts of one pass. Nothing in it changes during the pass."""

    def __init__(self, snapshot: Snapshot, assessment: Assessment, state: PoolState, now: float) -> None:
        """`state`: from the pass before, with no time after `now` (seconds since the epoch)."""
        self.snapshot = snapshot
        self.assessment = assessment
        self.state = state
        self.now = now

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self.snapshot.pool.name

    @property
    def spec(self) -> PoolSpec:
        """The pool's spec."""
        return self.snapshot.pool.spec

    @property
    def resource(self) -> str:
        """The name of the accelerator's resource."""
        return self.spec.accelerator.resource_name

    @property
    def primary(self) -> Provider:
        """The first provider."""
        return self.assessment.primary.provider

    @cached_property
    def standbys(self) -> tuple[Provider, ...]:
        """The other providers, most preferred first."""
        providers = tuple(supply.provider for supply in self.assessment.supplies)
        return in_preference(providers, cheapest=self.spec.placement is Placement.CHEAPEST)

    @cached_property
    def lost_nodes(self) -> frozenset[str]:
        """The names of the nodes whose status is Unknown."""
        return frozenset(info.node.name for info in self.snapshot.nodes if info.node.ready == "Unknown")

    def in_flight_to(self, pod: Pod, provider: Provider) -> bool:
        """Say whether the operator is writing an offer of the provider to the pod now."""
        offer = self.snapshot.in_flight.get(pod.uid)
        return offer is not None and offer.provider == provider.name

    def may_land_on(self, pod: Pod, provider: Provider) -> bool:
        """Say whether the pod may land on a standby without a further decision. A pod larger than any node may not."""
        if self.in_flight_to(pod, provider):
            return True
        if request_of(pod, self.resource) > self._largest[provider.name]:
            return False
        # A node that is not seen may belong to any provider.
        only = pod.shape.only_node
        if only is not None and self._provider_of.get(only, provider.name) != provider.name:
            return False
        return provider.tolerated_by(pod.shape)

    @cached_property
    def _largest(self) -> dict[str, int]:
        """The size of the largest node that each provider has, or may make."""
        supplies = self.assessment.supplies
        unknown = max(MOST_ON_A_NODE, *(supply.largest for supply in supplies))
        return {
            supply.provider.name: unknown if supply.provider.kind.before_room else supply.largest or unknown
            for supply in supplies
        }

    @cached_property
    def _provider_of(self) -> dict[str, str]:
        """The provider of each node, by the node's name."""
        return {info.node.name: supply.provider.name for supply in self.assessment.supplies for info in supply.nodes}
