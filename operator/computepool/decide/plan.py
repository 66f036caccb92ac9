"""What a pass wants done. Values only: whether and how it is done is for `act` and `report`."""

import msgspec

from computepool.assess.overflow import Hold
from computepool.model.reasons import Reason
from computepool.model.selectors import Requirement, Toleration
from computepool.model.snapshot import Pod
from computepool.model.state import PoolState


class Burst(msgspec.Struct, frozen=True):
    """Send a pending pod on to a standby provider: add the tolerations, the label and the offer."""

    pod: Pod
    provider: str
    reason: Reason
    rejected: tuple[tuple[str, Reason], ...]
    """The providers considered before, in order, and why each was rejected."""
    tolerations: tuple[Toleration, ...]
    """Those that the pod lacks."""


class Mark(msgspec.Struct, frozen=True):
    """Make a bound pod's label say where it runs: a standby's name, or an empty string for the primary."""

    pod: Pod
    provider: str


class Admission(msgspec.Struct, frozen=True):
    """What the admission policy gives to new pods; no tolerations: it is closed."""

    provider: str = ""
    tolerations: tuple[Toleration, ...] = ()
    preference: tuple[Requirement, ...] = ()
    """The primary's node selector, which new pods prefer softly."""


class Plan(msgspec.Struct, frozen=True):
    """The outcome of one pass over one pool."""

    state: PoolState
    bursts: tuple[Burst, ...] = ()
    holds: tuple[Hold, ...] = ()
    marks: tuple[Mark, ...] = ()
    admission: Admission = Admission()
    frozen: str = ""
    """Why nothing may be changed; empty where it may."""
    look_again: float | None = None
    """Seconds since the epoch when time alone may change the outcome; None: only a change can."""
