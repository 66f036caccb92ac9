"""Who holds a pod back by a scheduling gate: the domain of the gate's name tells it."""

from types import MappingProxyType
from typing import Final

MAX_GATES: Final = 8
"""Gates of a pod that are read, and gates that a status lists. A user may write thousands."""
_OWNERS: Final = MappingProxyType(
    {"kueue.x-k8s.io": "Kueue", "scheduling.volcano.sh": "Volcano", "grove.io": "Grove"},
)
"""By domain: the program that sets and removes such gates."""


def gate_owner(gate: str) -> str:
    """Return the name of the program that a gate belongs to; empty if it is not known."""
    domain, _, _ = gate.rpartition("/")
    return next((owner for known, owner in _OWNERS.items() if domain == known or domain.endswith(f".{known}")), "")


def gate_words(gate: str) -> str:
    """Write a gate with its owner: `kueue.x-k8s.io/admission (Kueue)`."""
    owner = gate_owner(gate)
    return f"{gate} ({owner})" if owner else gate
