"""How one operator process runs."""

from dataclasses import dataclass

from computepool.prometheus.source import Source

RESERVED_NAMESPACES = ("kube-system",)
"""Namespaces that are never managed, besides the operator's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Set by flags of `computepool run` and the chart."""

    namespace: str
    """The operator's namespace, which also has the Lease."""
    identity: str
    """The name of this process in the Lease and in events: the pod's name."""
    lease_name: str = "computepool"
    lease_seconds: float = 15.0
    host: str = "0.0.0.0"
    port: int = 8080
    kubeconfig: str | None = None
    context: str | None = None
    """The kubeconfig's context; None: its current context."""
    metrics: Source | None = None
    """The source of the cluster's metrics; None: signals from metrics are Unknown."""
    retry_seconds: float = 2.0
    """The delay between attempts to list the pools, and the first delay before kopf starts again."""
    stale_seconds: float = 120.0
    """After this time without proof that the view is current, decisions freeze. A quiet watch sends one each minute."""

    @property
    def reserved(self) -> tuple[str, ...]:
        """The namespaces that are never managed."""
        return tuple(sorted({*RESERVED_NAMESPACES, self.namespace}))
