"""The API server's URL paths and kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.faults import Verb
from tests.fakes.objectstore import Key

_VERBS: dict[str, Verb] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Provider:
    """What a path names; an empty collection is a path of discovery."""

    collection: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """The key in the object store."""
        return (self.namespace, self.name)

    def verb(self, method: str, query: Mapping[str, str]) -> Verb:
        """Return the API verb of a request."""
        if method != "GET":
            return _VERBS[method]
        if self.name or not self.collection:
            return "get"
        return "watch" if query.get("watch") in {"1", "true"} else "list"


def parse(path: str) -> Provider:
    """Read a path such as /api/v1/namespaces/ns/pods/name/status."""
    steps = path.strip("/").split("/")
    depth = 2 if steps[0] == "api" else 3
    prefix, steps = "/" + "/".join(steps[:depth]), steps[depth:]
    if not steps:
        return Provider()
    namespace = ""
    if steps[0] == "namespaces" and len(steps) > 2 and steps[2] not in {"status", "finalize"}:
        namespace, steps = steps[1], steps[2:]
    plural, name, subresource = (*steps, "", "")[:3]
    return Provider(f"{prefix}/{plural}", namespace, name, subresource)


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource: its kind, whether it lives in namespaces, and whether `/status` is apart."""

    name: str
    namespaced: bool = False
    status: bool = False


class Kinds:
    """The resources there are. Unknown ones are served too, with a kind guessed from the plural."""

    def __init__(self) -> None:
        self._kinds = {
            "/api/v1/pods": Kind("Pod", namespaced=True, status=True),
            "/api/v1/nodes": Kind("Node", status=True),
            "/api/v1/namespaces": Kind("Namespace", status=True),
            "/api/v1/events": Kind("Event", namespaced=True),
            "/api/v1/serviceaccounts": Kind("ServiceAccount", namespaced=True),
            "/apis/coordination.k8s.io/v1/leases": Kind("Lease", namespaced=True),
            "/apis/computepool.io/v1alpha1/computepools": Kind("ComputePool", status=True),
            "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies": Kind("MutatingAdmissionPolicy"),
            "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings": Kind(
                "MutatingAdmissionPolicyBinding"
            ),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": Kind("CustomResourceDefinition", status=True),
        }

    def add(self, collection: str, kind: Kind) -> None:
        """Serve a further resource."""
        self._kinds[collection] = kind

    def of(self, collection: str) -> Kind:
        """Return the kind of a collection."""
        return self._kinds.get(collection) or Kind(collection.rsplit("/", 1)[-1].removesuffix("s").capitalize())

    def meta(self, collection: str) -> dict[str, Any]:
        """Return the kind and apiVersion that its objects carry."""
        return {"kind": self.of(collection).name, "apiVersion": _group_version(collection)}

    def discovery(self, path: str, absent: Iterable[str] = ()) -> dict[str, Any]:
        """Answer /version, /api, /apis, /apis/<group>, /api/v1 and /apis/<group>/<version>.

        `absent`: prefixes of collections that are not served.
        """
        if path == "/version":
            return {"major": "1", "minor": "37", "gitVersion": "v1.37.2"}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        groups = [self._group(name) for name in sorted({_group_version(c).split("/")[0] for c in self._kinds} - {"v1"})]
        if path == "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for group in groups:
            if path == f"/apis/{group['name']}":
                return {"kind": "APIGroup", "apiVersion": "v1", **group}
        group_version = path.removeprefix("/apis/").removeprefix("/api/")
        served = {c: kind for c, kind in self._kinds.items() if not c.startswith(tuple(absent))}
        resources = [r for c, k in served.items() if _group_version(c) == group_version for r in _resources(c, k)]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": resources,
        }

    def _group(self, name: str) -> dict[str, Any]:
        found = sorted({_group_version(c) for c in self._kinds if _group_version(c).startswith(f"{name}/")})
        versions = [{"groupVersion": found_one, "version": found_one.split("/")[1]} for found_one in found]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _group_version(collection: str) -> str:
    return collection.rsplit("/", 1)[0].removeprefix("/apis/").removeprefix("/api/")


def _resources(collection: str, kind: Kind) -> list[dict[str, Any]]:
    plural = collection.rsplit("/", 1)[-1]
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    whole = {"name": plural, "kind": kind.name, "namespaced": kind.namespaced, "verbs": verbs, "singularName": ""}
    if not kind.status:
        return [whole]
    return [whole, {**whole, "name": f"{plural}/status", "verbs": ["get", "patch", "update"]}]
