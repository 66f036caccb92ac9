"""Stops the operator at one step of its work: the API server refuses that one request, and only the operator's.

    with Gate(cluster, EVICTION) as gate:
        gate.wait_knocked()      # the operator has come so far
        ...
    # open again

A gate is a ValidatingAdmissionPolicy that looks at the operator's ServiceAccount alone.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from e2e import chart, objects
from e2e.cluster import Access
from e2e.kubeapi import ApiError

Json = dict[str, Any]

POLICIES = "validatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
USER = f"system:serviceaccount:{chart.NAMESPACE}:{chart.SERVICE_ACCOUNT}"
DENIALS = "apiserver_validating_admission_policy_check_total"


@dataclass(frozen=True)
class Way:
    """A kind of request."""

    group: str
    resource: str
    operation: str
    when: str = "true"
    """A CEL expression on `object` and `oldObject`."""


_MARKED = "has({0}.spec.taints) && {0}.spec.taints.exists(t, t.key == 'computepool.io/unavailable')"
TAINT = Way("", "nodes", "UPDATE", f"{_MARKED.format('object')} && !({_MARKED.format('oldObject')})")
"""A node gets the taint of quarantine."""
INTENT = Way(
    "computepool.io",
    "computepools/status",
    "UPDATE",
    "has(object.status.recentMoves) && size(object.status.recentMoves) > 0",
)
"""Evictions are written down before they are asked for."""
EVICTION = Way("", "pods/eviction", "CREATE")
"""A pod is evicted."""
SENT_ON = Way("", "pods", "UPDATE", "size(object.spec.tolerations) > size(oldObject.spec.tolerations)")
"""A pod is sent to a standby: it gets a toleration."""


class Gate:
    """A way that is closed for as long as the block lasts."""

    def __init__(self, cluster: Access, way: Way) -> None:
        """Close it with `close`, or as a `with` block is entered."""
        self._cluster = cluster
        self._way = way
        self._name = f"e2e-gate-{secrets.token_hex(3)}"
        self._probes = 0

    def __enter__(self) -> Self:
        """Close the way, and wait until it is closed."""
        self.close()
        return self

    def __exit__(self, *_error: object) -> None:
        """Open it."""
        self.open()

    def close(self) -> None:
        """Close the way; it is closed once this returns."""
        self._cluster.api.create(self._policy())
        self._cluster.api.create(self._binding())
        chart.until(self._is_closed, f"the way of {self._way.resource} to be closed")

    def open(self) -> None:
        """Open the way; it need not be closed."""
        self._cluster.api.delete(BINDINGS, self._name)
        self._cluster.api.delete(POLICIES, self._name)
        chart.until(lambda: not self._is_closed(), f"the way of {self._way.resource} to be open")

    def knocks(self) -> int:
        """How often the operator was refused, as the API server counts it."""
        total = sum(
            sample.value
            for family in text_string_to_metric_families(_metrics(self._cluster))
            for sample in family.samples
            if sample.name == DENIALS and sample.labels["policy"] == self._name
        )
        return int(total) - self._probes

    def wait_knocked(self, timeout: float = 60.0) -> None:
        """Wait until the operator has come to the closed way."""
        chart.until(lambda: self.knocks() > 0, f"the operator to come to {self._way.resource}", timeout)

    def _is_closed(self) -> bool:
        """Ask for something that the same policy refuses everybody."""
        probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self._name}}
        path = self._cluster.api.resource("configmaps").path("default")
        try:
            self._cluster.api.request("POST", path, probe, query=chart.DRY_RUN)
        except ApiError as error:
            if self._name not in error.message:
                raise
            self._probes += 1
            return True
        return False

    def _policy(self) -> Json:
        rules = [
            {"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource]}
            for group, resource, operation in (
                (self._way.group, self._way.resource, self._way.operation),
                ("", "configmaps", "CREATE"),
            )
        ]
        probe = f"(request.resource.resource == 'configmaps' && request.name == '{self._name}')"
        step = f"(request.userInfo.username == '{USER}' && {self._way.when})"
        return objects.admission(
            "ValidatingAdmissionPolicy",
            self._name,
            {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": rules},
                "matchConditions": [{"name": "step", "expression": f"{probe} || {step}"}],
                "validations": [{"expression": "false", "message": f"closed by {self._name}"}],
            },
        )

    def _binding(self) -> Json:
        spec = {"policyName": self._name, "validationActions": ["Deny"]}
        return objects.admission("ValidatingAdmissionPolicyBinding", self._name, spec)


def _metrics(cluster: Access) -> str:
    return cluster.api.text("/metrics")
