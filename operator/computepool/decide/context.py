"""The facts that every step of a pass reads."""

from functools import cached_property
from heapq import nsmallest
from typing import Final

import msgspec

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.providers import Provider, in_preference
from computepool.model.accelerators import MOST_ON_A_NODE, request_of
from computepool.model.api import Placement, PoolSpec
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState

MOST_KINDS: Final = 16
"""How many kinds of pods stand for the pool's next pods: a pass may have to look for a place on each node for each."""


class Context:
    """The facts of one pass. Nothing in it changes during the pass."""

    def __init__(self, snapshot: Snapshot, assessment: Assessment, state: PoolState, now: float) -> None:
        """`state`: from the pass before, with no time after `now` (seconds since the epoch)."""
        self.snapshot = snapshot
        self.assessment = assessment
        self.state = state
        self.now = now
        # By provider and shape: whether a node of the provider may hold such pods.
        self._holds: dict[tuple[str, int], bool] = {}

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
    def next_pods(self) -> tuple[Pod, ...]:
        """One pod of each kind that waits or runs, the smallest first: the pool's next pods are taken to be like these.

        They have no owner: any workload may have such pods.
        """
        kinds = (*self.assessment.waiting, *self.assessment.running)
        smallest = nsmallest(MOST_KINDS, kinds, key=lambda pod: request_of(pod, self.resource))
        return tuple(msgspec.structs.replace(pod, owner="") for pod in smallest)

    @cached_property
    def lost_nodes(self) -> frozenset[str]:
        """The names of the nodes whose status is Unknown."""
        return frozenset(info.node.name for info in self.snapshot.nodes if info.node.ready == "Unknown")

    def in_flight_to(self, pod: Pod, provider: Provider) -> bool:
        """Say whether the operator is writing an offer of the provider to the pod now."""
        offer = self.snapshot.in_flight.get(pod.uid)
        return offer is not None and offer.provider == provider.name

    def is_refused(self, pod: Pod, provider: Provider) -> bool:
        """Say whether the API server does not let the pod be sent to the provider now."""
        refused = self.snapshot.refused_offers.get(pod.uid, ())
        return any(offer.provider == provider.name and offer.closes(self.now) for offer in refused)

    def may_land_on(self, pod: Pod, provider: Provider) -> bool:
        """Say whether the pod may land on a standby without a further decision.

        A pod that fits on no node of a provider, even on an empty one, takes nothing there from other pods.
        """
        if self.in_flight_to(pod, provider):
            return True
        # A node that is not seen may belong to any provider.
        only = pod.shape.only_node
        if only is not None and self._provider_of.get(only, provider.name) != provider.name:
            return False
        if not provider.tolerated_by(pod.shape):
            return False
        if pod.node:
            return request_of(pod, self.resource) <= self._largest
        return self._may_hold(provider, pod.shape)

    def _may_hold(self, provider: Provider, shape: Shape) -> bool:
        """Say whether any node that the provider has, or may get, could hold the pod if it were empty."""
        key = (provider.name, id(shape))
        found = self._holds.get(key)
        if found is None:
            supply = self.assessment.supply(provider.name)
            nodes = () if supply is None else supply.nodes
            # Most shapes find a node soon, so no list is made.
            admitting = (info.node for info in nodes if shape.admits(info.node.name, info.node.labels))
            unseen = shape.only_node is not None and shape.only_node not in self._provider_of
            if provider.kind.before_room or not nodes or unseen:
                found = request_of(shape, self.resource) <= self._largest and (
                    unseen or any(True for _ in admitting) or not provider.contradicts(shape)
                )
            else:
                found = any(_is_large_enough(node, shape, self.resource) for node in admitting)
            self._holds[key] = found
        return found

    @cached_property
    def _largest(self) -> int:
        """The size of the largest node that a provider may make, or that is not seen."""
        return max(MOST_ON_A_NODE, *(supply.largest for supply in self.assessment.supplies))

    @cached_property
    def _provider_of(self) -> dict[str, str]:
        """The provider of each node, by the node's name."""
        return {info.node.name: supply.provider.name for supply in self.assessment.supplies for info in supply.nodes}


def _is_large_enough(node: Node, shape: Shape, resource: str) -> bool:
    """Say whether an empty node holds the pod. Accelerators that the node does not show, it may have nevertheless."""
    for name, amount in shape.requests:
        most = max(node.capacity.get(name, 0), node.allocatable.get(name, 0))
        if amount > (most or (MOST_ON_A_NODE if name == resource else 0)):
            return False
    return True
