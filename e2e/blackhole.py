"""Black holes: nodes that look ready, and on which every pod fails at once.

A real kubelet refuses a pod right after it was bound. Here the API server marks pods as they are bound to such a node
(a Binding's annotations become the pod's), and kwok fails pods so marked before they ever run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from e2e import objects, stages
from e2e.kubeapi import KubeApi

Json = dict[str, Any]

POLICIES = "mutatingadmissionpolicies.admissionregistration.k8s.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
ATTEMPTS = 1_000


class BlackHoles:
    """The nodes of one site that fail their pods. Made anew, `dig` replaces what was there before."""

    def __init__(self, api: KubeApi, namespace: str) -> None:
        """Nothing is there yet; what is tried out is tried in `namespace`."""
        self._api = api
        self._namespace = namespace
        self._name = f"black-holes-{namespace}"
        self._there = False
        self._probes = itertools.count()

    def dig(self, names: Iterable[str], reason: str) -> None:
        """Have these nodes, and no others, fail the pods that are bound to them from now on, and wait until they do."""
        self.fill()
        probe = f"{self._name}-probe"
        self._api.create(self._policy([*names, probe], reason))
        self._api.create(objects.admission("MutatingAdmissionPolicyBinding", self._name, {"policyName": self._name}))
        self._there = True
        for _ in range(ATTEMPTS):
            if self._marks(probe):
                return
        raise AssertionError(f"the API server does not know {self._name}")

    def fill(self) -> None:
        """Have all nodes run their pods again; those that are bound this very moment may still fail."""
        if self._there:
            self._api.delete(BINDINGS, self._name)
            self._api.delete(POLICIES, self._name)
            self._there = False

    def _marks(self, node: str) -> bool:
        """Bind a pod to a node that is not there, so that nobody counts it; say whether it was marked."""
        name = f"probe-{next(self._probes)}"
        self._api.create(objects.gpu_pod(name, gpus=0, schedulerName="nobody"), self._namespace)
        target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"name": node}}
        path = f"/api/v1/namespaces/{self._namespace}/pods/{name}/binding"
        self._api.request("POST", path, target)
        found = self._api.get("pods", name, self._namespace)
        self._api.delete("pods", name, self._namespace, grace_seconds=0)
        return stages.POD_FAILS in found["metadata"].get("annotations", {})

    def _policy(self, nodes: list[str], reason: str) -> Json:
        chosen = ", ".join(f"'{name}'" for name in nodes)
        patch = f'[JSONPatch{{op: "add", path: "/metadata/annotations", value: {{"{stages.POD_FAILS}": "{reason}"}}}}]'
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/binding"]}
        return objects.admission(
            "MutatingAdmissionPolicy",
            self._name,
            {
                "matchConstraints": {"resourceRules": [rule]},
                "matchConditions": [{"name": "node", "expression": f"object.target.name in [{chosen}]"}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            },
        )
