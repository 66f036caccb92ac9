"""One difference between a pool's manifest and the cluster."""

from enum import IntEnum

import msgspec

from computepool.model.reasons import Reason


class Severity(IntEnum):
    """How much a finding matters; the worst is the smallest."""

    FAULT = 0
    """The pool does not work as written: it degrades the pool."""
    NOTICE = 1
    """A part of the pool does not work as written, or a person may want it so: it is told, and wakes nobody."""
    INFORMATION = 2
    """Nothing is wrong, such as in a pool that is scaled to zero."""


class Finding(msgspec.Struct, frozen=True):
    """A difference between the manifest and the cluster."""

    reason: Reason
    severity: Severity
    what: str
    """What is so, as the beginning of a sentence, without the names: `nodes of nebius carry x=y:NoSchedule`."""
    provider: str = ""
    """The provider that it is about; empty for the pool as a whole."""
    names: tuple[str, ...] = ()
    """All objects that it is about, sorted. A text names the first few of them."""
    mend: str = ""
    """Commands, or what to do in words, that mend it. Commands are in backquotes."""
