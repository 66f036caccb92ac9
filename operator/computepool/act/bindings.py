"""The admission policy's Binding of each pool: which pods the policy looks at, and whose status it reads.

A Binding is owned by the *policy*, not by the pool: `helm uninstall` removes the policy, and the garbage collector
removes the Bindings with it, operator or not. A deleted pool's Binding is removed by the operator; until then it does
nothing, as it reads a pool that is not there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from computepool.act.answers import decoded
from computepool.act.fence import Fence
from computepool.kube.client import ApiClient
from computepool.kube.errors import AlreadyExists, NotFound
from computepool.model.api import AdmissionMode, ComputePool, LabelSelector, Mode

POLICY = "computepool-burst"
GROUP_PATH = "/apis/admissionregistration.k8s.io/v1"
BINDINGS_PATH = f"{GROUP_PATH}/mutatingadmissionpolicybindings"
RESOURCE = "mutatingadmissionpolicies"
POLICY_PATH = f"{GROUP_PATH}/{RESOURCE}/{POLICY}"
MANAGED_BY = {"app.kubernetes.io/managed-by": "computepool"}


class Bindings:
    """Keeps one Binding per enforcing pool, where the cluster has the policy."""

    def __init__(self, client: ApiClient, fence: Fence, reserved_namespaces: Iterable[str]) -> None:
        """Pods in `reserved_namespaces` are never looked at."""
        self._client = client
        self._fence = fence
        self._reserved = sorted(reserved_namespaces)
        self.served = True
        """Whether the API server knows such policies, as the last sync that found none has seen it."""
        # What was written of each, and the version that made: a Binding of another version was changed by somebody.
        self._kept: dict[str, tuple[bytes, str]] = {}

    async def sync(self, pools: Mapping[str, ComputePool]) -> bool:
        """Make the Bindings those of `pools`: create, replace, delete; return whether the policy is there.

        Raises ApiError where the API server does not answer or refuses.
        """
        policy = await self._policy_uid()
        if policy is None:
            self._kept.clear()
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
            if self._kept.get(name) != (encoded, existing.get(name)):
                self._kept[name] = encoded, await self._put(name, body, exists=name in existing)
        return True

    async def _policy_uid(self) -> str | None:
        try:
            return decoded(_OBJECT, await self._client.get(POLICY_PATH), POLICY_PATH).metadata.uid
        except NotFound:
            self.served = await self._is_served()
            return None

    async def _is_served(self) -> bool:
        """Ask whether there could be a policy: an API server answers the same 404 where it does not know the kind."""
        try:
            answer = await self._client.get(GROUP_PATH)
        except NotFound:
            return False
        return any(one.name == RESOURCE for one in decoded(_RESOURCES, answer, GROUP_PATH).resources)

    async def _existing(self) -> dict[str, str]:
        """Return the versions of ours by name."""
        selector = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
        answer = await self._client.get(BINDINGS_PATH, {"labelSelector": selector})
        items = decoded(_LIST, answer, BINDINGS_PATH).items
        return {item.metadata.name: item.metadata.resource_version for item in items}

    async def _put(self, name: str, body: dict[str, Any], *, exists: bool) -> str:
        """Create it or make it what it should be; return the version that came of it."""
        self._fence.check()
        path = f"{BINDINGS_PATH}/{name}"
        if not exists:
            try:
                answer = await self._client.create(BINDINGS_PATH, body)
            except AlreadyExists:
                # There is one of that name that does not say it is ours.
                exists = True
        if exists:
            # Whole parts are put in place of what is there: a merge would keep labels that the selector lost.
            meta = body["metadata"]
            ops = [
                {"op": "add", "path": "/spec", "value": body["spec"]},
                {"op": "add", "path": "/metadata/labels", "value": meta["labels"]},
                {"op": "add", "path": "/metadata/ownerReferences", "value": meta["ownerReferences"]},
            ]
            answer = await self._client.json_patch(path, ops)
        return decoded(_OBJECT, answer, path).metadata.resource_version

    async def _delete(self, name: str) -> None:
        self._fence.check()
        self._kept.pop(name, None)
        try:
            await self._client.delete(f"{BINDINGS_PATH}/{name}")
        except NotFound:
            return

    def _binding(self, pool: ComputePool, policy_uid: str) -> dict[str, Any]:
        workloads = pool.spec.workloads
        namespaces = _selector(workloads.namespace_selector)
        namespaces["matchExpressions"] = [
            *namespaces["matchExpressions"],
            {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": self._reserved},
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
            {"key": e.key, "operator": str(e.operator), "values": list(e.values)}
            if e.values
            else {"key": e.key, "operator": str(e.operator)}
            for e in selector.match_expressions
        ],
    }


class _ObjectMeta(msgspec.Struct, rename="camel"):
    name: str
    uid: str = ""
    resource_version: str = ""


class _AnyObject(msgspec.Struct):
    metadata: _ObjectMeta


class _AnyList(msgspec.Struct):
    items: list[_AnyObject]


class _Resource(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Resource]


_OBJECT = msgspec.json.Decoder(_AnyObject)
_LIST = msgspec.json.Decoder(_AnyList)
_RESOURCES = msgspec.json.Decoder(_Resources)
