"""A brute-force model of one pass, with which the property tests compare plans.

It shares only the records with the code under test. It understands only the selectors and tolerations that `clusters`
makes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from computepool.decide.plan import Burst, Plan
from computepool.model.accelerators import request_of
from computepool.model.api import ProviderSpec
from computepool.model.cluster import Node, NodeInfo, Pod, Shape
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.taints import Toleration
from tests.builders import GPU, NOW, standby_toleration

Left = dict[str, int]


class Oracle:
    """Answers questions about one snapshot by trying all possibilities."""

    def __init__(self, seen: Snapshot) -> None:
        self.seen = seen
        self.pool = seen.pool
        self.providers = self._order()
        failed = [provider.name for provider in self.providers if self._fails(provider.name)]
        self.failed = [] if len(failed) > 1 and 2 * len(failed) > len(self.providers) else failed
        """The providers that fail. Empty if most of the providers fail at once: then none is out of use."""

    def _order(self) -> list[ProviderSpec]:
        """The primary, then the standbys, most preferred first."""
        primary, *standbys = self.pool.spec.providers
        if self.pool.spec.placement == "Cheapest":
            unknown = float("inf")
            standbys.sort(key=lambda standby: float(standby.price_per_accelerator_hour or unknown))
        return [primary, *standbys]

    def _fails(self, name: str) -> bool:
        """Whether 60 percent of a provider's nodes or accelerators are lost in the first pass.

        A node that is not Ready and runs no pod may be joining just now, and does not count.
        """
        infos = [info for info in self.nodes_of(name) if info.node.ready == "True" or self._runs_own(info)]
        lost = [info for info in infos if info.node.ready == "Unknown"]
        sizes = [sum(info.node.capacity[GPU] for info in some) for some in (lost, infos)]
        return bool(lost) and (10 * len(lost) >= 6 * len(infos) or 10 * sizes[0] >= 6 * sizes[1])

    def _runs_own(self, info: NodeInfo) -> bool:
        return any(request_of(pod, GPU) for pod in info.pods)

    def nodes_of(self, name: str) -> list[NodeInfo]:
        """A provider's nodes."""
        return [info for info in self.seen.nodes if info.node.labels["computepool.io/provider"] == name]

    def free(self, info: NodeInfo) -> Left:
        """The free resources of a node, without those of the pods that are bound or nominated to it."""
        promised = [pod for pod in self.seen.waiting if pod.nominated == info.node.name]
        left = dict(info.node.allocatable)
        for pod in (*info.pods, *promised):
            for name, amount in pod.shape.requests:
                left[name] = left.get(name, 0) - amount
        return left

    def may_go(self, shape: Shape, to: ProviderSpec, node: Node) -> bool:
        """Whether the node admits the pod after the pod was sent to the provider, whatever room the node has."""
        added = () if to is self.providers[0] else (standby_toleration(to.name),)
        usable = node.ready == "True" and not node.unschedulable and to.name not in self.failed
        return usable and _asks_for(shape, node) and _tolerates((*shape.tolerations, *added), node)

    def tolerates(self, shape: Shape, to: ProviderSpec) -> bool:
        """Whether the pod has the provider's toleration."""
        return standby_toleration(to.name) in shape.tolerations

    def can_all_be_placed(self, shapes: Iterable[Shape], on: ProviderSpec) -> bool:
        """Whether the provider's nodes have room for all of these pods at the same time."""
        return next(self._packings(on, tuple(shapes)), None) is not None

    def may_find_no_room(
        self,
        shape: Shape,
        on: ProviderSpec,
        after: Iterable[Shape],
        perhaps: Iterable[Shape] = (),
        given_away: Collection[str] = (),
    ) -> bool:
        """Whether earlier pods can be placed so that this pod finds no place.

        `after`: pods that are all placed earlier; `perhaps`: pods of which any may be placed earlier; `given_away`:
        nodes on which a pod preempts others, and needs all that is free.
        """
        infos = self.nodes_of(on.name)
        open_to = [
            index
            for index, info in enumerate(infos)
            if info.node.name not in given_away and self.may_go(shape, on, info.node)
        ]
        packings = self._packings(on, tuple(after), tuple(perhaps))
        return any(not any(_has(left[index], shape) for index in open_to) for left in packings)

    def _packings(
        self, on: ProviderSpec, shapes: Sequence[Shape], perhaps: Sequence[Shape] = ()
    ) -> Iterator[list[Left]]:
        """Yield each way to place the shapes, as the free resources that it leaves on each node; equal results once."""
        infos = self.nodes_of(on.name)
        every = (*shapes, *perhaps)
        open_to = {
            id(shape): [i for i, info in enumerate(infos) if self.may_go(shape, on, info.node)] for shape in every
        }
        todo = [*sorted(shapes, key=lambda shape: (len(open_to[id(shape)]), id(shape))), *perhaps]
        seen: set[tuple[int, tuple[tuple[tuple[str, int], ...], ...]]] = set()

        def place(position: int, left: list[Left]) -> Iterator[list[Left]]:
            state = (position, tuple(tuple(sorted(on_node.items())) for on_node in left))
            if state in seen:
                return
            seen.add(state)
            if position == len(todo):
                yield left
                return
            shape = todo[position]
            if position >= len(shapes):
                yield from place(position + 1, left)
            for index in open_to[id(shape)]:
                if _has(left[index], shape):
                    taken = {**left[index]}
                    for name, amount in shape.requests:
                        taken[name] = taken.get(name, 0) - amount
                    yield from place(position + 1, [*left[:index], taken, *left[index + 1 :]])

        yield from place(0, [self.free(info) for info in infos])

    # -- what the pool uses of a provider

    def committed(self, to: ProviderSpec, bursts: Iterable[Burst] = ()) -> int:
        """The accelerators that the pool's pods hold there, or may hold without a further decision, in thousandths."""
        bound = [pod for info in self.nodes_of(to.name) for pod in info.pods]
        coming = [
            pod
            for pod in self.seen.waiting
            if self._in_flight_to(pod) == to.name or (self.tolerates(pod.shape, to) and self._could_hold(pod.shape, to))
        ]
        sent = [burst.pod for burst in bursts if burst.provider == to.name]
        return sum(request_of(pod, GPU) for pod in (*bound, *coming, *sent))

    def _could_hold(self, shape: Shape, on: ProviderSpec) -> bool:
        """Whether a node of the provider could hold the pod if it were empty, or may be made."""
        nodes = [info.node for info in self.nodes_of(on.name)]
        if on.capacity.type == "OnDemand" or not nodes:
            return self._may_have_node(shape, on)
        return any(
            shape.admits(node.name, node.labels)
            and all(
                amount <= max(node.capacity.get(name, 0), node.allocatable.get(name, 0))
                or (name == GPU and not node.capacity.get(name))
                for name, amount in shape.requests
            )
            for node in nodes
        )

    def _in_flight_to(self, pod: Pod) -> str:
        offer = self.seen.in_flight.get(pod.uid)
        return "" if offer is None else offer.provider

    def allows(self, pod: Pod, to: ProviderSpec) -> bool:
        """Whether the pod's owner lets it go there."""
        return pod.allowed is None or to.name in pod.allowed

    def is_refused(self, pod: Pod, to: ProviderSpec) -> bool:
        """Whether the API server has refused to send the pod there, and the refusal still counts."""
        refused = self.seen.refused_offers.get(pod.uid, ())
        return any(offer.provider == to.name and offer.times > 1 and offer.at <= NOW < offer.until for offer in refused)

    def cannot_be_satisfied(self, shape: Shape, to: ProviderSpec) -> bool:
        """Whether no node of the provider can ever admit the pod, or the provider is out of use."""
        return to.name in self.failed or not self._may_have_node(shape, to)

    def _may_have_node(self, shape: Shape, of: ProviderSpec) -> bool:
        """Whether the pod's selector asks for no other provider's nodes."""
        return dict(shape.node_selector).get("computepool.io/provider", of.name) == of.name

    def foreign_to(self, to: ProviderSpec) -> list[Pod]:
        """Other pools' pods that were sent there, and fit there if each is alone."""
        return [
            pod
            for pod in self.seen.foreign
            if (self._in_flight_to(pod) or pod.burst) == to.name
            and not pod.nominated
            and any(
                self.may_go(pod.shape, to, info.node) and _has(self.free(info), pod.shape)
                for info in self.nodes_of(to.name)
            )
        ]


def placed(plan: Plan, on: str, *, in_flight: Mapping[str, object]) -> list[Pod]:
    """The pods for which the plan has a place on the provider now: pending pods, and pods that it sends there."""
    reasons = (Reason.FITS_ON_PREFERRED, Reason.AWAITING_SCHEDULER)
    waiting = [h.pod for h in plan.holds if h.provider == on and h.reason in reasons and h.pod.uid not in in_flight]
    return waiting + [burst.pod for burst in plan.bursts if burst.provider == on]


def since_fitting(fitting: Mapping[tuple[str, str], float], pod: Pod, provider: str) -> float:
    """For how many seconds the pod has fitted there."""
    return NOW - fitting.get((pod.uid, provider), NOW)


def _asks_for(shape: Shape, node: Node) -> bool:
    if any(node.labels.get(key) != value for key, value in shape.node_selector):
        return False
    terms = shape.affinity
    return terms is None or any(all(node.labels.get(e.key) in e.values for e in term.expressions) for term in terms)


def _tolerates(tolerations: Sequence[Toleration], node: Node) -> bool:
    return all(
        taint.effect == "PreferNoSchedule"
        or any(_covers(toleration, taint.key, taint.value) for toleration in tolerations)
        for taint in node.taints
    )


def _covers(toleration: Toleration, key: str, value: str) -> bool:
    return toleration.key == key and (toleration.operator == "Exists" or toleration.value == value)


def _has(left: Left, shape: Shape) -> bool:
    return all(left.get(name, 0) >= amount for name, amount in shape.requests)
