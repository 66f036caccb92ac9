"""Frozen records of pods and nodes, and of the pods on each node.

Resources are mappings of resource name to thousandths (see `quantity`); times are seconds since the epoch. Records hold
only what decisions need: a hundred thousand of them fit in memory.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.model.api import UNAVAILABLE_KEY
from computepool.model.labels import Labels, Requirement, Selector, Term
from computepool.model.taints import Taint, Toleration
from computepool.model.well_known_keys import BURST_LABEL, QUARANTINE_EFFECT

NODE_OWNERS: Final = frozenset({"DaemonSet", "Node"})
"""Kinds of owners whose pods belong to their node."""
DEFAULT_SCHEDULER: Final = "default-scheduler"
"""The schedulerName that the API server gives to pods that name none."""
NAMED: Final = "StatefulSet"
"""A kind of owner whose pods have fixed names."""
_NODE_NAMES: Final = frozenset({"metadata.name", "kubernetes.io/hostname"})
"""Keys whose value names a node. A node's hostname label normally equals its name."""

Resources = Mapping[str, int]
Amounts = tuple[tuple[str, int], ...]


class Shape(msgspec.Struct, frozen=True, gc=False):
    """Everything that decides where a pod fits. Equal shapes are decided once, so reflectors share them."""

    requests: Amounts
    node_selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[Term, ...] | None = None
    """Required node affinity, with its terms ORed. None is no constraint; () matches no node."""
    tolerations: tuple[Toleration, ...] = ()
    unmodelled: tuple[str, ...] = ()
    """Constraints that the packing does not model, by their names in the pod's spec. Messages name them."""
    scheduler: str = ""
    """Its spec.schedulerName; empty for Kubernetes' own scheduler."""

    def admits(self, name: str, labels: Labels) -> bool:
        """Say whether nodeSelector and required node affinity let it onto a node of that name and labels."""
        for key, value in self.node_selector:
            if labels.get(key) != value:
                return False
        if self.affinity is None:
            return True
        for term in self.affinity:  # noqa: SIM110
            if term.matches(name, labels):
                return True
        return False

    @property
    def only_node(self) -> str | None:
        """The name of the single node that its selectors admit; None if they name no node, or several."""
        for key, value in self.node_selector:
            if key in _NODE_NAMES:
                return value
        # Few pods have an affinity, and a pass asks thousands of pods.
        if not self.affinity:
            return None
        names = {_named_node(term) for term in self.affinity}
        return names.pop() if len(names) == 1 else None

    def alternatives(self) -> tuple[Selector, ...]:
        """Return the selectors on a node's labels, at least one of which has to match.

        Terms that name a node are left out: no other node can satisfy them.
        """
        own = tuple(Requirement(key, "In", (value,)) for key, value in self.node_selector)
        if self.affinity is None:
            return (Selector(own),)
        return tuple(Selector(own + term.expressions) for term in self.affinity if term.expressions and not term.fields)


def _named_node(term: Term) -> str | None:
    for need in (*term.fields, *term.expressions):
        if need.key in _NODE_NAMES and need.operator == "In" and len(need.values) == 1:
            return need.values[0]
    return None


class Offer(msgspec.Struct, frozen=True, gc=False):
    """A pod was sent to a provider."""

    provider: str
    at: float


class RefusedOffer(msgspec.Struct, frozen=True, gc=False):
    """The API server has refused the patch that sends a pod to a provider. Times are in seconds since the epoch."""

    provider: str
    at: float
    until: float
    """When the next attempt is due."""
    answer: str = ""
    """What the API server answered."""
    times: int = 1
    """How often in a row it has refused the patch."""

    def closes(self, now: float) -> bool:
        """Say whether the pod may not be sent to that provider now, and may go to the next.

        The first refusal may be about a list of tolerations that was out of date. Then the pod's place is kept, as
        while a write is under way. A refusal of the future does not count: the clock was set back.
        """
        return self.times > 1 and self.at <= now < self.until


class Pod(msgspec.Struct, frozen=True, gc=False):
    """A pod, with the fields that decisions need."""

    uid: str
    namespace: str
    name: str
    resource_version: int
    shape: Shape
    labels: Labels
    created: float
    since: float
    """Since when it waits to be bound: its creation, or the later moment when its last gate was seen lifted."""
    priority: int = 0
    preempts: bool = True
    """Whether the scheduler may preempt pods of lower priority for it (preemptionPolicy)."""
    node: str = ""
    nominated: str = ""
    gated: bool = False
    """Whether scheduling gates hold it back."""
    gates: tuple[str, ...] = ()
    """The names of these gates, the first few of them. Only reports read them."""
    unschedulable: bool = False
    """Whether the scheduler has said Unschedulable; its message is never read."""
    deleting: float | None = None
    """When it should be gone (deletionTimestamp); None while it is not deleted."""
    finished: bool = False
    """Whether it has succeeded or failed, and holds no resources any more."""
    offers: tuple[Offer, ...] = ()
    signals: tuple[str, ...] = ()
    """Names of the signals from metrics that were on when it was last sent to a standby."""
    allowed: tuple[str, ...] | None = None
    """The standby providers that its annotation allows; None allows all."""
    deletion_cost: str | None = None
    owner: str = ""
    """The uid of its controller; empty if no controller replaces it."""
    owner_kind: str = ""
    fixed_name: bool = False
    """Whether its owner has given it its name, as StatefulSets do and many controllers of training jobs."""
    to_completion: bool = False
    """Whether it runs to completion: its restartPolicy is not Always."""
    movable: bool | None = None
    """The value of its annotation computepool.io/movable; None without one."""
    appeared: int = 0
    """Event number at which this process first saw the pod: the same counter as `PodMove.order`."""
    protected_until: float = 0.0
    """Until when it asks not to be disrupted; 0 if it does not ask, infinity without an end. Moves by choice wait."""
    gang: bool = False
    """Whether it runs only together with other pods, by a mark of `model.gang_marks`."""
    started: float | None = None
    """When a kubelet accepted it (status.startTime); None before that."""
    ready: bool = False
    """Whether its Ready condition is True."""
    failing: bool = False
    """Whether any of its containers does not start, or ends again and again, or its virtual kubelet refuses it."""
    refused: bool = False
    """Whether its virtual kubelet refuses it, and leaves it pending."""
    ready_since: float | None = None
    """When it became Ready; None while it is not Ready, or if that is not known."""
    has_run: bool = False
    """Whether any of its containers has run."""
    claimed: tuple[str, ...] = ()
    """Extended resources that it holds through a resource claim (DRA) instead of a device plugin."""

    @property
    def burst(self) -> str:
        """The standby provider that its label names, or an empty string."""
        return self.labels.get(BURST_LABEL, "")

    @property
    def runs(self) -> bool:
        """Whether its containers run, as far as is seen. A server that loads its model runs long before it is ready."""
        return self.ready or (self.has_run and not self.failing)

    @property
    def never_accepted(self) -> bool:
        """Whether its virtual kubelet refuses it and it never ran.

        A virtual kubelet also refuses a change of a pod that it runs, with the same reason.
        """
        return self.refused and not self.ready and not self.has_run

    @property
    def belongs_to_node(self) -> bool:
        """Whether its owner made it for one node: it neither moves nor runs elsewhere."""
        return self.owner_kind in NODE_OWNERS

    @property
    def keeps_name(self) -> bool:
        """Whether the pod that replaces it has the same name, so that it comes only once this pod is gone."""
        return self.owner_kind == NAMED or self.fixed_name

    @property
    def node_bound(self) -> bool:
        """Whether a single node can take it, by its owner or its selectors. Such a pod is no demand of the pool."""
        return self.owner_kind in NODE_OWNERS or self.shape.only_node is not None

    @property
    def sent_to(self) -> frozenset[str]:
        """The standby providers that it was sent to. Their tolerations are not in its controller's template."""
        sent = {offer.provider for offer in self.offers}
        return frozenset({*sent, self.burst} if self.burst else sent)

    def allows(self, standby: str) -> bool:
        """Say whether its owner lets it go to a standby provider."""
        return self.allowed is None or standby in self.allowed

    def offered(self, provider: str) -> float | None:
        """Return when it was offered to the provider, or None."""
        return next((offer.at for offer in self.offers if offer.provider == provider), None)

    def offered_since(self, provider: str) -> float:
        """Return since when it may use a provider that it tolerates: its offer, or the start of its wait."""
        at = self.offered(provider)
        return self.since if at is None else at


def made_again(pod: Pod, shape: Shape) -> Pod:
    """Return the pod as its controller makes it again: not bound, and without what came to it since.

    `shape`: its own, without the tolerations that sent it to a standby. It keeps its age, and since when it waits.
    """
    return msgspec.structs.replace(
        pod,
        shape=shape,
        labels={key: value for key, value in pod.labels.items() if key != BURST_LABEL} if pod.burst else pod.labels,
        node="",
        nominated="",
        unschedulable=False,
        offers=(),
        signals=(),
        started=None,
        ready=False,
        failing=False,
        refused=False,
        ready_since=None,
        has_run=False,
    )


class Node(msgspec.Struct, frozen=True):
    """A node, with the fields that decisions need."""

    name: str
    resource_version: int
    labels: Labels
    allocatable: Resources
    capacity: Resources
    taints: tuple[Taint, ...] = ()
    ready: str = "Unknown"
    """The status of its Ready condition: True, False or Unknown."""
    ready_since: float | None = None
    """Since when, by the clock of the component that has set it. The operator's own waits use the operator's clock."""
    unschedulable: bool = False
    deleting: bool = False
    conditions: tuple[tuple[str, str], ...] = ()
    """Type and status of its conditions other than Ready, sorted."""
    created: float = 0.0
    """When it joined the cluster."""

    @property
    def quarantined(self) -> bool:
        """Whether it carries the operator's taint against new pods."""
        return bool(self.taints) and any(taint.key == UNAVAILABLE_KEY for taint in self.taints)

    @property
    def quarantine(self) -> str | None:
        """The value of the taint with the operator's own key and effect; None if it carries no such taint."""
        for taint in self.taints:
            if taint.key == UNAVAILABLE_KEY and taint.effect == QUARANTINE_EFFECT:
                return taint.value
        return None

    @property
    def usable(self) -> bool:
        """Whether new pods may go there: it is Ready, and neither cordoned nor deleted."""
        return self.ready == "True" and not self.unschedulable and not self.deleting


class Share(msgspec.Struct, frozen=True):
    """One pool's pods on one node."""

    members: tuple[Pod, ...]
    """The pool's pods that are bound to it and request the pool's accelerator."""
    accelerators: int
    """How much of the accelerator they hold, in thousandths."""
    burst_labels: frozenset[str]
    """Every value of their burst label; an empty string for pods without the label."""


class Accelerators(msgspec.Struct, frozen=True, gc=False):
    """One node's accelerators of one kind, in thousandths."""

    capacity: int = 0
    """The node's capacity, or its allocatable amount if that is larger."""
    allocatable: int = 0
    used: int = 0
    """Held by pods that are bound to the node, of any pool; never more than the capacity. A pod that its user has bound
    to the node by hand may request any amount."""
    free: int = 0
    """Allocatable, and neither held by a pod nor promised to a nominated pod; never below zero."""

    @property
    def missing(self) -> int:
        """The accelerators that are not allocatable."""
        return self.capacity - self.allocatable


NO_SHARES: Final[Mapping[str, Share]] = MappingProxyType({})


class NodeInfo(msgspec.Struct, frozen=True):
    """A node with the pods bound to it, replaced as a whole when either changes. Made by `node_info`."""

    node: Node
    pods: tuple[Pod, ...]
    used: Resources
    left: Resources
    """Allocatable minus bound and nominated pods' requests; below zero if a node shrank under its pods."""
    leaving: tuple[Pod, ...]
    """The terminating pods among `pods`: they hold their resources until they are gone."""
    shares: Mapping[str, Share]
    """By pool name."""
    accelerators: Mapping[str, Accelerators]
    """By extended resource; read by model/accelerators.py alone."""

    def members(self, pool: str) -> tuple[Pod, ...]:
        """Return the pool's pods that are bound to it and request the pool's accelerator."""
        share = self.shares.get(pool)
        return () if share is None else share.members


def node_info(
    node: Node, pods: Iterable[Pod] = (), nominated: Iterable[Pod] = (), shares: Mapping[str, Share] = NO_SHARES
) -> NodeInfo:
    """Sum up the pods on a node. `nominated`: pods that the scheduler will bind there after a preemption."""
    bound = tuple(pods)
    used = _total(bound)
    taken = _total((*bound, *nominated))
    left = {name: amount - taken.get(name, 0) for name, amount in node.allocatable.items()}
    return NodeInfo(
        node=node,
        pods=bound,
        used=used,
        left=left,
        leaving=tuple(pod for pod in bound if pod.deleting is not None),
        shares=shares,
        accelerators={
            name: _accelerators(node, name, used, left)
            for name in node.capacity.keys() | node.allocatable.keys()
            if "/" in name
        },
    )


def _accelerators(node: Node, name: str, used: Resources, left: Resources) -> Accelerators:
    allocatable = node.allocatable.get(name, 0)
    most = max(node.capacity.get(name, 0), allocatable)
    return Accelerators(
        capacity=most,
        allocatable=allocatable,
        used=min(used.get(name, 0), most),
        free=max(0, left.get(name, 0)),
    )


def _total(pods: Iterable[Pod]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for pod in pods:
        for name, amount in pod.shape.requests:
            sums[name] = sums.get(name, 0) + amount
    return sums


def members_on(infos: Iterable[NodeInfo], pool: str) -> Iterable[Pod]:
    """Return the pool's pods on these nodes. A pass asks for them several times: a generator takes twice as long."""
    return chain.from_iterable([info.shares[pool].members for info in infos if pool in info.shares])
