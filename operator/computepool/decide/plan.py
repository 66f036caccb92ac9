"""The plan of a pass, as values. `act` carries it out, `report` shows it."""

from collections.abc import Mapping

import msgspec

from computepool.assess.demand.overflow import Hold
from computepool.model.cluster import Pod
from computepool.model.labels import Requirement
from computepool.model.moves import MoveKind, PodMove, is_by_choice
from computepool.model.reasons import Reason
from computepool.model.taints import Toleration


class Burst(msgspec.Struct, frozen=True):
    """Send a pending pod to a standby: add the tolerations, the label and the offer."""

    pod: Pod
    provider: str
    reason: Reason
    rejected: tuple[tuple[str, Reason], ...]
    """The more preferred providers, in order, with the reason of each rejection."""
    tolerations: tuple[Toleration, ...]
    """The provider's tolerations that the pod lacks."""
    signals: tuple[str, ...] = ()
    """Names of the signals from metrics that are on and known: because of them the pod does not wait first."""


class LabelFix(msgspec.Struct, frozen=True):
    """Correct the label of a bound pod: the name of its standby, or an empty string on the primary."""

    pod: Pod
    provider: str


class Admission(msgspec.Struct, frozen=True):
    """The tolerations that the admission policy adds to new pods. Without tolerations admission is closed."""

    provider: str = ""
    tolerations: tuple[Toleration, ...] = ()
    preference: tuple[Requirement, ...] = ()
    """The primary's node selector, which new pods prefer."""
    held_by: str = ""
    """The standby that keeps admission closed to a less preferred standby; empty if no standby does."""
    held_because: Reason | None = None
    """Why admission can't list that standby, although it takes pods: AT_MAX_ACCELERATORS if it has maxAccelerators,
    CANARY_UNDER_WAY if it waits for its first pod, WORKLOAD_BACK_OFF if a workload is held off it."""
    over_since: float | None = None
    """Since when nothing has called for it, because that standby takes no pods; None while it takes pods."""


class Move(msgspec.Struct, frozen=True):
    """Evict a running pod. Its controller makes a replacement, which goes to `target` or a more preferred provider."""

    pod: Pod
    source: str
    """The provider on which the pod runs."""
    target: str
    """The provider that has room for the replacement on healthy nodes, or makes it. It may be the source."""
    kind: MoveKind
    reason: Reason
    release: bool = False
    """Whether the pod is deleted instead of evicted, because its node is lost and the policy says so."""
    room_seconds: float = 0.0
    """How long the target is given to make a node for the replacement; 0 if the replacement has a place already."""
    drain: bool = False
    """Whether the pod leaves a drained provider although nothing is wrong with its node."""

    @property
    def by_choice(self) -> bool:
        """Whether the pod could as well stay: only a forced move leaves what fails."""
        return is_by_choice(self.kind, drain=self.drain)

    def begun(self, at: float) -> PodMove:
        """Return the move as it is followed from now on. `at`: seconds since the epoch."""
        return PodMove(
            self.pod, self.source, self.target, self.kind, at, drain=self.drain, room_seconds=self.room_seconds
        )


class BlockedMove(msgspec.Struct, frozen=True):
    """A running pod that should move and stays, with the reason and the rejected providers.

    A refused eviction counts as a blocked move after evictionTimeoutSeconds. The same plan may also try it again.
    """

    pod: Pod
    reason: Reason
    rejected: tuple[tuple[str, Reason], ...] = ()
    until: float | None = None


class Plan(msgspec.Struct, frozen=True):
    """The outcome of one pass over one pool."""

    bursts: tuple[Burst, ...] = ()
    holds: tuple[Hold, ...] = ()
    label_fixes: tuple[LabelFix, ...] = ()
    admission: Admission = Admission()
    moves: tuple[Move, ...] = ()
    blocked: tuple[BlockedMove, ...] = ()
    blocked_left_out: int = 0
    """Number of blocked moves that are not in `blocked`, whose length is limited."""
    exhausted: bool = False
    """Whether the budget refuses more pods on standbys now."""
    quarantine: Mapping[str, Reason] | None = None
    """By name, all nodes of the pool that must carry the taint, with the reason. None leaves all taints as they are."""
    held_back: str = ""
    """Why no pod is moved and no node quarantined, while bursts go on. Usually empty."""
    frozen: str = ""
    """Why nothing may be changed. Usually empty."""
    leases_to_read: frozenset[str] = frozenset()
    """Names of silent nodes whose Leases must be read directly from the API server before a breaker opens."""
    recheck_at: float | None = None
    """Next time at which a pass is due although nothing changes, in seconds since the epoch; None: no such time."""
