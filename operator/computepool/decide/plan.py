"""What a pass wants done. Values only: whether and how it is done is for `act` and `report`."""

from collections.abc import Mapping

import msgspec

from computepool.assess.demand.overflow import Hold
from computepool.model.cluster import Pod
from computepool.model.labels import Requirement
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.taints import Toleration


class Burst(msgspec.Struct, frozen=True):
    """Send a pending pod on to a standby provider: add the tolerations, the label and the offer."""

    pod: Pod
    provider: str
    reason: Reason
    rejected: tuple[tuple[str, Reason], ...]
    """The providers considered before, in order, and why each was rejected."""
    tolerations: tuple[Toleration, ...]
    """Those that the pod lacks."""


class LabelFix(msgspec.Struct, frozen=True):
    """Make a bound pod's label say where it runs: a standby's name, or an empty string for the primary."""

    pod: Pod
    provider: str


class Admission(msgspec.Struct, frozen=True):
    """What the admission policy gives to new pods; no tolerations: it is closed."""

    provider: str = ""
    tolerations: tuple[Toleration, ...] = ()
    preference: tuple[Requirement, ...] = ()
    """The primary's node selector, which new pods prefer softly."""


class Move(msgspec.Struct, frozen=True):
    """Evict a running pod: its controller makes another, which goes to `target` or to a provider before it."""

    pod: Pod
    source: str
    """The provider it runs on."""
    target: str
    """The provider that has room for it, itself with its unhealthy nodes left out perhaps."""
    kind: MoveKind
    reason: Reason
    release: bool = False
    """Whether it is deleted in place of evicted: its node is lost, and the policy says so."""


class BlockedMove(msgspec.Struct, frozen=True):
    """A running pod that should move and stays: why, and which providers were rejected for it.

    A pod whose eviction is refused has one only after evictionTimeoutSeconds, and then also beside its next try.
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
    """How many more pods stay, beyond those in `blocked`: a plan lists some hundreds of them at most."""
    exhausted: bool = False
    """Whether the budget does not allow another pod on a standby now."""
    quarantine: Mapping[str, Reason] | None = None
    """By node: those of the pool that are to carry the taint, and why; no others. None: all stay as they are."""
    held_back: str = ""
    """Why no running pod is moved and no node quarantined, although bursting goes on; empty where nothing is wrong."""
    frozen: str = ""
    """Why nothing may be changed; empty where it may."""
    recheck_at: float | None = None
    """Seconds since the epoch when time alone may change the outcome; None: only a change can."""
