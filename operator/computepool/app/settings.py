"""How one operator process runs."""

from dataclasses import dataclass

RESERVED_NAMESPACES = ("kube-system",)
"""Never managed, besides the operator's own namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Set by flags of `computepool run` and the chart."""

    namespace: str
    """Where the Lease is, and where the operator runs."""
    identity: str
    """Names this process in the Lease and in events: the pod's name."""
    lease_name: str = "computepool"
    lease_seconds: float = 15.0
    host: str = "0.0.0.0"
    port: int = 8080
    kubeconfig: str | None = None
    retry_seconds: float = 2.0
    """Between attempts to list the pools; before kopf starts anew, where the delays grow."""
    stale_seconds: float = 120.0
    """A view not known to be current for so long freezes all decisions. A quiet watch says something once a minute."""

    @property
    def reserved(self) -> tuple[str, ...]:
        """The namespaces that are never managed."""
        return tuple(sorted({*RESERVED_NAMESPACES, self.namespace}))
