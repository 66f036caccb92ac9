"""PodDisruptionBudgets as records. Commands and simulations read them; the operator itself only asks and is refused."""

from typing import Any, Final

import msgspec

from computepool.kube.wire import Wire
from computepool.model.api.selectors import LabelSelector
from computepool.model.cluster import Pod
from computepool.model.labels import Requirement, Selector

_NO_POD: Final = Selector((Requirement("", "Exists"),))
"""No label has an empty key."""


class DisruptionBudget(msgspec.Struct, frozen=True):
    """One PodDisruptionBudget, as its status has it."""

    namespace: str
    name: str
    selector: Selector
    allowed: int = 0
    """How many of its pods may be evicted now (status.disruptionsAllowed)."""
    desired: int = 0
    """How many of its pods must stay Ready (status.desiredHealthy)."""
    always_unready: bool = False
    """Whether pods that are not Ready may always be evicted (unhealthyPodEvictionPolicy AlwaysAllow)."""

    def covers(self, pod: Pod) -> bool:
        """Say whether it protects the pod."""
        return pod.namespace == self.namespace and self.selector.matches(pod.labels)

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"{self.namespace}/{self.name}"


class _Meta(Wire):
    name: str = ""
    namespace: str = ""


class _Spec(Wire):
    selector: dict[str, Any] | None = None
    unhealthy_pod_eviction_policy: str = ""


class _Status(Wire):
    disruptions_allowed: int = 0
    desired_healthy: int = 0


class _Budget(Wire):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_BUDGET: Final = msgspec.json.Decoder(_Budget)


def disruption_budget(raw: bytes) -> DisruptionBudget:
    """Read a PodDisruptionBudget from JSON. Raises msgspec.ValidationError, msgspec.DecodeError and ValueError."""
    found = _BUDGET.decode(raw)
    selector = found.spec.selector
    return DisruptionBudget(
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        # Without a selector it covers no pod, and with an empty selector all pods.
        selector=_NO_POD if selector is None else LabelSelector.model_validate(selector).compiled(),
        allowed=max(0, found.status.disruptions_allowed),
        desired=found.status.desired_healthy,
        always_unready=found.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
    )
