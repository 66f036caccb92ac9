"""What one pass hands to the next. Everything that matters is in the pool's status; the timers start anew on a restart,
which only ever makes the operator wait longer."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from computepool.model.api import ComputePool
from computepool.model.reasons import Reason

Fitting = Mapping[tuple[str, str], float]
"""By pod uid and provider: since when a waiting pod has had a place there by our account, and was not bound."""


class Saturation(msgspec.Struct, frozen=True):
    """The verdict on the primary. `saturated` is None while it can't be told."""

    saturated: bool | None = None
    reason: Reason = Reason.PRIMARY_UNKNOWN
    pressure_since: float | None = None
    """Since when the pressure that would make it saturated lasts; None without such pressure."""
    relief_since: float | None = None
    """Since when the relief that would end it lasts; None without relief."""


class PoolState(msgspec.Struct, frozen=True):
    """The pool's recorded state between two passes."""

    saturation: Saturation = Saturation()
    fitting: Fitting = MappingProxyType({})
    admitting: str = ""
    """The standby provider that new pods are admitted to; empty while admission is closed."""


def recorded_state(pool: ComputePool) -> PoolState:
    """Read back from the pool's status what the leader before had decided; timers start anew."""
    condition = pool.status.condition("Saturated")
    saturated = {"True": True, "False": False}.get(str(condition.status)) if condition else None
    given = set(pool.status.admission.tolerations)
    admitting = next((p.name for p in pool.spec.standbys if given.issuperset(p.effective_tolerations())), "")
    return PoolState(Saturation(saturated), admitting=admitting)
