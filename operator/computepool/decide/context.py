"""What every step of a decision reads: one snapshot, its assessment, the state before, and the time."""

from functools import cached_property

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.providers import Provider, in_preference
from computepool.model.api import Placement, PoolSpec
from computepool.model.cluster import Pod
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState


class Context:
    """The facts of one pass. Nothing in it changes during the pass."""

    def __init__(self, snapshot: Snapshot, assessment: Assessment, state: PoolState, now: float) -> None:
        """`state`: what the pass before has left, with no time after `now` (seconds since the epoch)."""
        self.snapshot = snapshot
        self.assessment = assessment
        self.state = state
        self.now = now
        self._tolerating: dict[tuple[int, str], bool] = {}

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
        targets = tuple(supply.provider for supply in self.assessment.supplies)
        return in_preference(targets, cheapest=self.spec.placement is Placement.CHEAPEST)

    @cached_property
    def lost_nodes(self) -> frozenset[str]:
        """The names of the nodes whose status is Unknown."""
        return frozenset(info.node.name for info in self.snapshot.nodes if info.node.ready == "Unknown")

    def in_flight_to(self, pod: Pod, target: Provider) -> bool:
        """Say whether an offer of the provider to the pod is being written."""
        offer = self.snapshot.in_flight.get(pod.uid)
        return offer is not None and offer.provider == target.name

    def may_land_on(self, pod: Pod, target: Provider) -> bool:
        """Say whether the pod may land on a standby without any further decision."""
        return self.tolerates(pod, target) or self.in_flight_to(pod, target)

    def tolerates(self, pod: Pod, target: Provider) -> bool:
        """Say whether the pod has every toleration of a standby already; worked out once for equal pods."""
        key = (id(pod.shape), target.name)
        found = self._tolerating.get(key)
        if found is None:
            found = self._tolerating[key] = target.tolerated_by(pod.shape)
        return found
