"""The records of the demo besides pods: evictions, the pool's status, events, and the demo's own steps.

Times are seconds on this machine's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from e2e.recorder import Life

Json = dict[str, Any]


@dataclass(frozen=True)
class Eviction:
    """A pod that was taken away while its workload goes on."""

    pod: Life
    at: float
    by_api: bool
    """Whether the pod says that the Eviction API let it go."""
    serving: int
    """Pods of its workload that were ready and not leaving, after it."""
    wanted: int
    """How many its PodDisruptionBudget wanted to be left; 0 without one."""

    @property
    def beyond_budget(self) -> bool:
        """Whether no disruption budget was asked, or more went than it allows."""
        return not self.by_api or self.serving < self.wanted


@dataclass(frozen=True)
class BreakerSeen:
    """One provider's breaker, in the words of the pool's status."""

    state: str
    reason: str = ""
    failures: int = 0


@dataclass(frozen=True)
class SignalSeen:
    """One signal from metrics, in the words of the pool's status."""

    verdict: str
    value: float | None
    """None: Unknown."""
    unit: str = ""

    @classmethod
    def of(cls, status: Json) -> SignalSeen:
        """Read one entry of status.signals; empty where the pool has no such signal."""
        number, _, unit = status.get("value", "").partition(" ")
        return cls(status.get("verdict", "Unknown"), float(number) if number else None, unit)


@dataclass(frozen=True)
class PoolSeen:
    """What the pool's status said from a moment on."""

    at: float
    saturated: str
    reason: str
    breakers: Mapping[str, BreakerSeen]
    """By provider, in the spec's order."""
    capacity: Mapping[str, int]
    """By provider: accelerators on nodes that can take pods."""
    cost_per_hour: str
    admits: str = ""
    """The provider that new pods are admitted to; empty while admission is closed."""
    signals: Mapping[str, SignalSeen] = field(default_factory=dict)
    """By key, in the spec's order."""

    @classmethod
    def of(cls, status: Json, at: float) -> PoolSeen:
        """Read a ComputePool's status."""
        saturated: Json = next((each for each in status.get("conditions", []) if each["type"] == "Saturated"), {})
        providers = status["providers"]
        return cls(
            at=at,
            saturated=saturated.get("status", "Unknown"),
            reason=saturated.get("reason", ""),
            breakers={provider["name"]: _breaker(provider.get("breaker", {})) for provider in providers},
            capacity={provider["name"]: int(provider["accelerators"]["allocatable"]) for provider in providers},
            cost_per_hour=status.get("costPerHour", ""),
            admits=", ".join(each["value"] for each in status.get("admission", {}).get("tolerations", [])),
            signals={signal["key"]: SignalSeen.of(signal) for signal in status.get("signals", [])},
        )

    def same_as(self, other: PoolSeen) -> bool:
        """Whether the two differ in their time only."""
        return replace(self, at=other.at) == other


def _breaker(status: Json) -> BreakerSeen:
    return BreakerSeen(status.get("state", "Closed"), status.get("reason", ""), int(status.get("failures", 0)))


@dataclass(frozen=True)
class EventSeen:
    """One event of the operator's: when it says it happened (RFC 3339), about what, why, and in words."""

    time: str
    kind: str
    name: str
    reason: str
    message: str
    action: str = ""


@dataclass(frozen=True)
class Act:
    """Something that the demo itself did to the cluster."""

    at: float
    text: str


@dataclass(frozen=True)
class Step:
    """Where a step of the story begins."""

    at: float
    number: int
    title: str
