"""A small synchronous client that speaks plain JSON objects, for tests and benchmarks.

Kinds are named as kubectl names them: "pods", "deployments.apps", "computepools.computepool.io". Every answer is the
object as the server sent it. Waiting is done on watches, never by asking again and again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode

import msgspec
import urllib3

from e2e.errors import E2EError, WaitTimeoutError

Json = dict[str, Any]
Objects = list[Json]
T = TypeVar("T")
PatchType = Literal["merge", "json", "strategic", "apply"]

_CONTENT_TYPES: dict[PatchType, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
# One answer that lists every group, version and resource. See KEP-3352, aggregated discovery.
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# Threads, and connections kept alive, for creating or deleting many objects: more only queue on two cores.
PARALLEL = 8
# Seconds that one watch lasts at most where nobody says less: longer than anything here runs.
FOREVER = 24 * 3600.0


class ApiError(E2EError):
    """The API server refused. `status` is the HTTP status, `reason` its machine-readable word, `message` the text."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep the parts of the server's Status object."""
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Resource(NamedTuple):
    """Where a kind lives in the API."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of one object, or of the collection where no name is given."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{quote(namespace)}" if self.namespaced and namespace else ""
        parts = [self.plural, *([quote(name)] if name else []), *([subresource] if subresource else [])]
        return f"{root}{scope}/{'/'.join(parts)}"


class WatchEvent(NamedTuple):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Json
    at: float
    """When it arrived, in seconds on this machine's monotonic clock."""


class Changes(NamedTuple):
    """What has changed, and all objects as they are since then, by uid."""

    events: Sequence[WatchEvent]
    objects: Mapping[str, Json]


class Selectors(TypedDict, total=False):
    """Which objects of a kind; selectors as kubectl writes them."""

    labels: str | None
    fields: str | None


class KubeApi:
    """One user's view of one API server. Safe to use from several threads."""

    def __init__(self, url: str, token: str, ca_file: Path, *, acts_as: str = "") -> None:
        """Connect when first used. `acts_as`: the user for whom an administrator's requests count; RBAC allows all."""
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        if acts_as:
            self._headers |= {"Impersonate-User": acts_as, "Impersonate-Group": "system:masters"}
        self._pool = urllib3.PoolManager(
            ca_certs=str(ca_file), maxsize=2 * PARALLEL, block=False, retries=False, timeout=urllib3.Timeout(60)
        )
        self._resources: dict[str, Resource] = {}

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._pool.clear()

    # -- one object ------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json:
        """Read one object. Raises ApiError with status 404 where there is none."""
        return self.request("GET", self.resource(kind).path(namespace, name))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """Read one object, or None where there is none."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, manifest: Json, namespace: str | None = None) -> Json:
        """Create one object, in the manifest's namespace or else in the one given."""
        resource, namespace = self._placed(manifest, namespace)
        return self.request("POST", resource.path(namespace), manifest)

    def apply(self, manifest: Json, namespace: str | None = None) -> Json:
        """Create or change one object by server-side apply, winning conflicts, as field manager "e2e"."""
        resource, namespace = self._placed(manifest, namespace)
        path = resource.path(namespace, manifest["metadata"]["name"])
        query = {"fieldManager": "e2e", "force": "true"}
        return self.request("PATCH", path, manifest, query=query, content_type=_CONTENT_TYPES["apply"])

    def replace(self, manifest: Json, namespace: str | None = None, *, subresource: str | None = None) -> Json:
        """Write one object whole; with a resourceVersion in it, only if nobody else has meanwhile."""
        resource, namespace = self._placed(manifest, namespace)
        return self.request("PUT", resource.path(namespace, manifest["metadata"]["name"], subresource), manifest)

    def patch(
        self,
        kind: str,
        name: str,
        patch: Json | Objects,
        namespace: str | None = None,
        *,
        how: PatchType = "merge",
        subresource: str | None = None,
    ) -> Json:
        """Patch one object: a JSON merge patch unless `how` says otherwise."""
        path = self.resource(kind).path(namespace, name, subresource)
        return self.request("PATCH", path, patch, content_type=_CONTENT_TYPES[how])

    def delete(self, kind: str, name: str, namespace: str | None = None, *, grace_seconds: int | None = None) -> None:
        """Delete one object, its dependents in the background. It need not exist."""
        try:
            self.request("DELETE", self.resource(kind).path(namespace, name), _deletion(grace_seconds))
        except ApiError as error:
            if error.status != 404:
                raise

    def evict(self, pod: str, namespace: str) -> None:
        """Evict a pod. Raises ApiError with status 429 where a PodDisruptionBudget holds it."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        self.request("POST", self.resource("pods").path(namespace, pod, "eviction"), body)

    # -- many objects ----------------------------------------------------------------------------------------------

    def list(self, kind: str, namespace: str | None = None, **which: Unpack[Selectors]) -> Objects:
        """List objects, of all namespaces unless one is given."""
        return self.list_at(kind, namespace, **which)[0]

    def list_at(self, kind: str, namespace: str | None = None, **which: Unpack[Selectors]) -> tuple[Objects, str]:
        """List objects; return them and the resourceVersion of the list, from which a watch goes on."""
        resource = self.resource(kind)
        answer = self.request("GET", resource.path(namespace), query=_query(which))
        # The items of a list leave out what the list says once.
        typed = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [typed | item for item in answer["items"]], answer["metadata"]["resourceVersion"]

    def create_many(self, manifests: Iterable[Json], namespace: str | None = None) -> Objects:
        """Create many objects over several connections; the answers are in the manifests' order."""
        with ThreadPoolExecutor(PARALLEL) as threads:
            return list(threads.map(lambda manifest: self.create(manifest, namespace), manifests))

    def delete_many(self, kind: str, names: Iterable[str], namespace: str | None = None) -> None:
        """Delete many objects by name over several connections, at once and without grace."""
        with ThreadPoolExecutor(PARALLEL) as threads:
            list(threads.map(lambda name: self.delete(kind, name, namespace, grace_seconds=0), names))

    def delete_all(
        self, kind: str, namespace: str | None = None, *, labels: str | None = None, grace_seconds: int | None = None
    ) -> None:
        """Delete a whole collection, with one request."""
        path, query = self.resource(kind).path(namespace), _query({"labels": labels})
        self.request("DELETE", path, _deletion(grace_seconds), query=query)

    # -- watching --------------------------------------------------------------------------------------------------

    def watch(
        self, kind: str, namespace: str | None = None, *, version: str, timeout: float, **which: Unpack[Selectors]
    ) -> Iterator[WatchEvent]:
        """Watch what happens after a resourceVersion, until `timeout` seconds have passed or the server ends it.

        Raises ApiError where the server sends an error (410: list anew).
        """
        seconds = str(max(1, int(timeout) + 1))
        query = _query(which) | {"watch": "true", "timeoutSeconds": seconds, "resourceVersion": version}
        deadline = time.monotonic() + timeout
        with _closing(self._open(self.resource(kind).path(namespace), query, timeout)) as response:
            for at, line in _lines(response, deadline):
                event: Json = msgspec.json.decode(line)
                if event["type"] == "ERROR":
                    raise _error(int(event["object"].get("code", 500)), event["object"])
                yield WatchEvent(event["type"], event["object"], at)

    def follow(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        timeout: float = FOREVER,
        slice_seconds: float = FOREVER,
        stop: threading.Event | None = None,
        **which: Unpack[Selectors],
    ) -> Iterator[Changes]:
        """Yield all matching objects as ADDED, at once, and then each change for itself.

        It ends after `timeout` seconds, or once `stop` is set, which it notices each `slice_seconds`. If the server
        restarts or has forgotten our place in the watch, it lists anew, as any client must, and yields at once all that
        has changed meanwhile: of an object that is gone it has a DELETED with the last state that was seen.
        """
        stop = stop or threading.Event()
        deadline = time.monotonic() + timeout
        known: dict[str, Json] = {}
        version = ""
        while not stop.is_set():
            try:
                if not version:
                    found, version = self.list_at(kind, namespace, **which)
                    yield Changes(_differences(known, found), known)
                seconds = min(slice_seconds, max(0.0, deadline - time.monotonic()))
                for event in self.watch(kind, namespace, version=version, timeout=seconds, **which):
                    version = event.object["metadata"]["resourceVersion"]
                    _apply(known, event)
                    yield Changes([event], known)
            except (urllib3.exceptions.HTTPError, ApiError) as problem:
                if not _is_passing(problem):
                    raise
                version = ""
                stop.wait(0.05)
            if time.monotonic() >= deadline:
                return

    def wait_for(
        self,
        kind: str,
        condition: Callable[[Objects], T | None],
        namespace: str | None = None,
        *,
        name: str | None = None,
        labels: str | None = None,
        timeout: float = 30,
        what: str = "",
    ) -> T:
        """Wait until `condition`, given all matching objects, returns something true, and return that.

        It is asked at once and after each change. Raises WaitTimeoutError, which names `what` was waited for and
        shows what was there last.
        """
        which: Selectors = {"labels": labels, "fields": f"metadata.name={name}" if name else None}
        seen: Objects = []
        for seen in self.states(kind, namespace, timeout=timeout, **which):
            if result := condition(seen):
                return result
        raise WaitTimeoutError(_waited(kind, what, timeout, seen))

    def states(
        self, kind: str, namespace: str | None = None, *, timeout: float, **which: Unpack[Selectors]
    ) -> Iterator[Objects]:
        """Yield all matching objects now and after each change, until the timeout; see `follow`."""
        for changes in self.follow(kind, namespace, timeout=timeout, **which):
            yield list(changes.objects.values())

    # -- the rest --------------------------------------------------------------------------------------------------

    def token(self, service_account: str, namespace: str, *, seconds: int = 3600) -> str:
        """A ServiceAccount's token, by TokenRequest."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        path = self.resource("serviceaccounts").path(namespace, service_account, "token")
        return str(self.request("POST", path, body)["status"]["token"])

    def request(
        self,
        method: str,
        path: str,
        body: Json | Objects | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Json:
        """Send any request and return the answer. Raises ApiError for a status of 400 and more."""
        url = f"{self._url}{path}{'?' + urlencode(query) if query else ''}"
        headers = self._headers | {"Content-Type": content_type, "Accept": accept}
        encoded = None if body is None else json.dumps(body).encode()
        response = self._pool.request(method, url, body=encoded, headers=headers)
        if response.status >= 400:
            raise _error(response.status, _status_of(response.data))
        answer: Json = json.loads(response.data)
        return answer

    def text(self, path: str) -> str:
        """Get something that is no JSON, such as /metrics. Raises ApiError for a status of 400 and more."""
        response = self._pool.request("GET", f"{self._url}{path}", headers=self._headers)
        if response.status >= 400:
            raise _error(response.status, _status_of(response.data))
        return response.data.decode()

    def resource(self, kind: str) -> Resource:
        """Look a kind up in the server's discovery: "pods", "deployments.apps", or "apps/v1/Deployment"."""
        if kind not in self._resources:
            self._resources = self._discover()
        if kind not in self._resources:
            raise ApiError(404, "NotFound", f"the server knows no resource {kind!r}")
        return self._resources[kind]

    def _discover(self) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        for root in ("/api", "/apis"):
            for group in self.request("GET", root, accept=_DISCOVERY)["items"]:
                name = group["metadata"].get("name", "")
                # Versions come with the preferred one first, which is what the plain name shall mean.
                for version in group["versions"]:
                    api_version = f"{name}/{version['version']}" if name else version["version"]
                    for entry in version.get("resources", []):
                        resource = _resource(api_version, entry)
                        found.setdefault(f"{resource.plural}.{name}" if name else resource.plural, resource)
                        found.setdefault(f"{api_version}/{resource.kind}", resource)
        return found

    def _placed(self, manifest: Json, namespace: str | None) -> tuple[Resource, str | None]:
        resource = self.resource(f"{manifest['apiVersion']}/{manifest['kind']}")
        return resource, manifest["metadata"].get("namespace") or namespace

    def _open(self, path: str, query: Mapping[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
        # The read timeout ends a watch in which nothing happens.
        limits = urllib3.Timeout(connect=5, read=max(timeout, 0.01))
        url = f"{self._url}{path}?{urlencode(query)}"
        response = self._pool.request("GET", url, headers=self._headers, preload_content=False, timeout=limits)
        if response.status >= 400:
            raise _error(response.status, _status_of(response.data))
        return response


@contextmanager
def _closing(response: urllib3.BaseHTTPResponse) -> Iterator[urllib3.BaseHTTPResponse]:
    """Close a streamed answer in the end, rather than hand its half-read connection back to the pool."""
    try:
        yield response
    finally:
        response.close()
        response.release_conn()


def _lines(response: urllib3.BaseHTTPResponse, deadline: float) -> Iterator[tuple[float, bytes]]:
    """Yield each line with the time at which it arrived."""
    buffer = b""
    try:
        for chunk in response.stream(amt=None):
            at = time.monotonic()
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                yield at, line
            if time.monotonic() >= deadline:
                return
    except urllib3.exceptions.ReadTimeoutError:
        if time.monotonic() < deadline:
            raise


def _resource(api_version: str, entry: Json) -> Resource:
    kind = entry.get("responseKind", {}).get("kind", "")
    return Resource(api_version, entry["resource"], kind, entry["scope"] == "Namespaced")


def _query(which: Selectors) -> dict[str, str]:
    selectors = {"labelSelector": which.get("labels"), "fieldSelector": which.get("fields")}
    return {name: selector for name, selector in selectors.items() if selector}


def _deletion(grace_seconds: int | None) -> Json:
    grace = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
    return {"propagationPolicy": "Background", **grace}


def _status_of(data: bytes) -> Json:
    try:
        status = json.loads(data)
    except ValueError:
        status = None
    return status if isinstance(status, dict) else {"message": data.decode(errors="replace")}


def _error(code: int, status: Json) -> ApiError:
    return ApiError(code, status.get("reason", ""), status.get("message", ""))


def _apply(objects: dict[str, Json], event: WatchEvent) -> None:
    uid = event.object["metadata"].get("uid", "")
    if event.type == "DELETED":
        objects.pop(uid, None)
    elif event.type in ("ADDED", "MODIFIED"):
        objects[uid] = event.object


def _differences(known: dict[str, Json], found: Objects) -> list[WatchEvent]:
    """Return what turns `known`, objects by uid, into what a list has found, and change `known` so."""
    now = time.monotonic()
    listed = {item["metadata"]["uid"] for item in found}
    events = [WatchEvent("DELETED", item, now) for uid, item in known.items() if uid not in listed]
    for item in found:
        before = known.get(item["metadata"]["uid"])
        if before is None or before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            events.append(WatchEvent("MODIFIED" if before else "ADDED", item, now))
    for event in events:
        _apply(known, event)
    return events


def _is_passing(problem: Exception) -> bool:
    return not isinstance(problem, ApiError) or problem.status in (410, 429) or problem.status >= 500


def _waited(kind: str, what: str, timeout: float, objects: Objects) -> str:
    shown = "\n".join(f"  {_brief(item)}" for item in objects[:20]) or "  nothing"
    return f"waited {timeout:g} s for {what or kind}; last seen ({len(objects)} {kind}):\n{shown}"


def _brief(item: Json) -> str:
    status = item.get("status", {})
    conditions = ", ".join(
        f"{condition.get('type')}={condition.get('status')}"
        + (f" ({condition['reason']})" if condition.get("reason") else "")
        for condition in status.get("conditions", [])
    )
    where = item.get("spec", {}).get("nodeName", "")
    return " ".join(part for part in (item["metadata"]["name"], where, status.get("phase", ""), conditions) if part)
