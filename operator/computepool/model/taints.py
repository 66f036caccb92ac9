"""Taints and tolerations, with the scheduler's meaning.

Source: core/v1 Toleration.ToleratesTaint.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

_FEW: Final = 64
"""So many tolerations are read one after another more quickly than they are sorted."""


class Taint(msgspec.Struct, frozen=True, gc=False):
    """A node's taint."""

    key: str
    value: str = ""
    effect: str = ""

    def __str__(self) -> str:
        """Write it as kubectl does: `key=value:effect`, or `key:effect` without a value."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"

    @property
    def blocks(self) -> bool:
        """Whether it keeps new pods off its node; PreferNoSchedule does not."""
        return self.effect in ("NoSchedule", "NoExecute")

    @property
    def transient(self) -> bool:
        """Whether it stands for a state of the node (not ready, cordoned, under pressure) and goes with that state."""
        return self.key.startswith(("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"))


class Toleration(msgspec.Struct, frozen=True, gc=False):
    """A pod's toleration. An empty key with Exists tolerates every taint; an empty effect, every effect."""

    key: str = ""
    operator: str = ""
    """Equal or Exists. Empty means Equal, and stays empty so that the list can be written back unchanged."""
    value: str = ""
    effect: str = ""
    seconds: int | None = None
    """tolerationSeconds; it limits running pods only."""

    def tolerates(self, taint: Taint) -> bool:
        """Say whether a pod with this toleration may go to a node with the taint."""
        return self._admits(taint.key, taint.value, taint.effect)

    def covers(self, other: "Toleration") -> bool:
        """Say whether this toleration tolerates every taint that the other tolerates.

        The operator of `other` must be Equal or Exists, and Exists where it has no key, as the API server demands.
        """
        # An empty key or effect of the other stands for all of them, so only an empty key or effect here covers it.
        admits = self._admits(other.key, other.value, other.effect)
        return admits and (self.operator == "Exists" or other.operator != "Exists")

    def _admits(self, key: str, value: str, effect: str) -> bool:
        if (self.effect and self.effect != effect) or (self.key and self.key != key):
            return False
        return self.operator == "Exists" or (bool(self.key) and self.operator in ("", "Equal") and self.value == value)


def tolerated(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> bool:
    """Say whether the tolerations together tolerate every taint that blocks new pods."""
    return all(not taint.blocks or any(toleration.tolerates(taint) for toleration in tolerations) for taint in taints)


def tolerance_of(tolerations: Sequence[Toleration]) -> Callable[[Sequence[Taint]], bool]:
    """Return `tolerated` with these tolerations, for the taints of many nodes in turn.

    Any user may write ten thousand tolerations, so many are sorted once instead of read anew for each node.
    """
    if len(tolerations) <= _FEW:
        return lambda taints: tolerated(taints, tolerations)
    # Key, value (None for any value) and effect.
    sorted_out = {
        (toleration.key, None if toleration.operator == "Exists" else toleration.value, toleration.effect)
        for toleration in tolerations
        if toleration.operator == "Exists" or (toleration.key and toleration.operator in ("", "Equal"))
    }

    def tolerates(taint: Taint) -> bool:
        keys = ((taint.key, taint.value), (taint.key, None), ("", None))
        return any((*key, effect) in sorted_out for key in keys for effect in (taint.effect, ""))

    return lambda taints: all(not taint.blocks or tolerates(taint) for taint in taints)


def covered(wanted: Sequence[Toleration], tolerations: Sequence[Toleration]) -> bool:
    """Say whether each of the wanted tolerations is covered by one of the tolerations."""
    return all(any(given.covers(need) for given in tolerations) for need in wanted)
