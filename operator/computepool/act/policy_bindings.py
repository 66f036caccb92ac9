"""The admission policy's Binding of each pool: which pods the policy checks, and which pool's status it reads.

The *policy* owns a Binding, not the pool: after `helm uninstall` has removed the policy, the garbage collector removes
the Bindings without the operator. The operator removes a deleted pool's Binding. Until then the Binding has no effect,
because its pool does not exist.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from computepool.act.write_access import Fence
from computepool.kube import paths, wire
from computepool.kube.client import ApiClient
from computepool.kube.errors import AlreadyExists, NotFound, decoded
from computepool.model.api import AdmissionMode, ComputePool, LabelSelector, Mode
from computepool.model.well_known_keys import NAMESPACE_NAME_LABEL

POLICY = "computepool-burst"
_POLICY_PATH = f"{paths.POLICIES}/{POLICY}"
MANAGED_BY = {"app.kubernetes.io/managed-by": "computepool"}

_OBJECT = msgspec.json.Decoder(wire.Stored)
_LIST = msgspec.json.Decoder(wire.StoredList)
_RESOURCES = msgspec.json.Decoder(wire.ApiResourceList)


class Bindings:
    """Keeps one Binding for each enforcing pool, if the cluster has the policy."""

    def __init__(self, client: ApiClient, fence: Fence, reserved_namespaces: Iterable[str]) -> None:
        """The policy never checks pods in `reserved_namespaces`."""
        self._client = client
        self._fence = fence
        self._reserved = sorted(reserved_namespaces)
        self.served = True
        """Whether the API server serves such policies, as the last sync without a policy found it."""
        # By name: the body last written, and its version. Another version means that another client changed it.
        self._written: dict[str, tuple[bytes, str]] = {}

    async def sync(self, pools: Mapping[str, ComputePool]) -> bool:
        """Create, replace and delete Bindings to match `pools`; return whether the policy exists.

        Raises ApiError and NotLeadingError.
        """
        policy = await self._policy_uid()
        if policy is None:
            self._written.clear()
            return False
        wanted = {
            binding_name(pool.name): self._binding(pool, policy)
            for pool in pools.values()
            if pool.spec.mode is Mode.ENFORCE and pool.spec.admission.mode is not AdmissionMode.OFF
        }
        existing = await self._existing()
        for name in sorted(existing.keys() - wanted.keys()):
            await self._delete(name)
        for name, body in wanted.items():
            encoded = msgspec.json.encode(body, order="deterministic")
            if self._written.get(name) != (encoded, existing.get(name)):
                self._written[name] = encoded, await self._put(name, body, exists=name in existing)
        return True

    async def _policy_uid(self) -> str | None:
        try:
            answer = await self._client.get(_POLICY_PATH)
        except NotFound:
            self.served = await self._is_served()
            return None
        return decoded(_OBJECT, answer, request=f"GET {_POLICY_PATH}").metadata.uid

    async def _is_served(self) -> bool:
        """Say whether the API server serves the kind: without it, the answer to a GET is the same 404."""
        try:
            answer = await self._client.get(paths.ADMISSION_GROUP)
        except NotFound:
            return False
        resources = decoded(_RESOURCES, answer, request=f"GET {paths.ADMISSION_GROUP}").resources
        return any(resource.name == paths.POLICY_RESOURCE for resource in resources)

    async def _existing(self) -> dict[str, str]:
        """Return the resourceVersions of the operator's Bindings by name."""
        selector = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
        answer = await self._client.get(paths.BINDINGS, {"labelSelector": selector})
        items = decoded(_LIST, answer, request=f"GET {paths.BINDINGS}").items
        return {item.metadata.name: item.metadata.resource_version for item in items}

    async def _put(self, name: str, body: dict[str, Any], *, exists: bool) -> str:
        """Create or update a Binding; return its new resourceVersion."""
        self._fence.check()
        path = f"{paths.BINDINGS}/{name}"
        if not exists:
            try:
                answer = await self._client.create(paths.BINDINGS, body)
            except AlreadyExists:
                # A Binding of that name lacks the operator's label.
                exists = True
        if exists:
            # Replace whole parts: a merge patch would keep labels that the selector has lost.
            meta = body["metadata"]
            ops = [
                {"op": "add", "path": "/spec", "value": body["spec"]},
                {"op": "add", "path": "/metadata/labels", "value": meta["labels"]},
                {"op": "add", "path": "/metadata/ownerReferences", "value": meta["ownerReferences"]},
            ]
            answer = await self._client.json_patch(path, ops)
        return decoded(_OBJECT, answer, request=path).metadata.resource_version

    async def _delete(self, name: str) -> None:
        self._fence.check()
        self._written.pop(name, None)
        with suppress(NotFound):
            await self._client.delete(f"{paths.BINDINGS}/{name}")

    def _binding(self, pool: ComputePool, policy_uid: str) -> dict[str, Any]:
        workloads = pool.spec.workloads
        namespaces = _selector(workloads.namespace_selector)
        namespaces["matchExpressions"] = [
            *namespaces["matchExpressions"],
            {"key": NAMESPACE_NAME_LABEL, "operator": "NotIn", "values": self._reserved},
        ]
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {
                "name": binding_name(pool.name),
                "labels": {**MANAGED_BY, "computepool.io/pool": pool.name},
                "ownerReferences": [
                    {
                        "apiVersion": "admissionregistration.k8s.io/v1",
                        "kind": "MutatingAdmissionPolicy",
                        "name": POLICY,
                        "uid": policy_uid,
                    }
                ],
            },
            "spec": {
                "policyName": POLICY,
                "paramRef": {"name": pool.name, "parameterNotFoundAction": "Allow"},
                "matchResources": {
                    "namespaceSelector": namespaces,
                    "objectSelector": _selector(workloads.pod_selector),
                },
            },
        }


def binding_name(pool: str) -> str:
    """Return the name of a pool's Binding."""
    return f"computepool-{pool}"


def _selector(selector: LabelSelector) -> dict[str, Any]:
    return {
        "matchLabels": dict(selector.match_labels),
        "matchExpressions": [
            {"key": term.key, "operator": str(term.operator), **({"values": list(term.values)} if term.values else {})}
            for term in selector.match_expressions
        ],
    }
