"""A small cluster on a fake API server, its scheduler, and readers of the operator's writes."""

from __future__ import annotations

import asyncio
from typing import Any

from computepool.model.offers_annotation import parse_offers
from computepool.simulate.scheduler import fits, left_of, take
from tests.builders import POOL
from tests.fakes.apiserver import BINDINGS, COMPUTEPOOLS, NODES, PODS, POLICIES, FakeApiServer
from tests.fakes.objectstore import Change
from tests.unit.act.objects import Json, namespace, node, node_record, pod, pod_record, pool

OFFERS = "computepool.io/offers"
BURST = "computepool.io/burst"
NAMESPACES = "/api/v1/namespaces"


def full(server: FakeApiServer, waiting: int = 0, *, places: int = 4, policy: bool = False) -> None:
    """Fill a cluster: a primary of two accelerators that are taken, and two standbys with so many places each.

    `waiting` pods find no room on the primary.
    """
    if policy:
        server.create(POLICIES, {"metadata": {"name": "computepool-burst"}})
    server.create(NAMESPACES, namespace())
    for item in (node("a1", "aws", 2), node("n1", "nebius", places), node("c1", "crusoe", places)):
        server.create(NODES, item)
    for name in ("old-1", "old-2"):
        server.create(PODS, pod(name, on="a1"))
    overflow(server, waiting)


def overflow(server: FakeApiServer, count: int, prefix: str = "new", *, created: str = "") -> list[str]:
    """Create pods that wait, for months unless it is said since when; return their names."""
    names = [f"{prefix}-{number}" for number in range(count)]
    for name in names:
        item = pod(name)
        if created:
            item["metadata"]["creationTimestamp"] = created
        server.create(PODS, item)
    return names


def edit_pool(server: FakeApiServer, **spec: Any) -> Json:
    """Change fields of the pool's spec, as a user with kubectl does."""
    item = server.get(COMPUTEPOOLS, POOL)
    return server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], **spec}})


def make_pool(server: FakeApiServer, *providers: Json | str, **how: Any) -> Json:
    """Create the pool."""
    return server.create(COMPUTEPOOLS, pool(*providers, **how))


def touch_node(server: FakeApiServer, name: str, text: str) -> None:
    """Change a node so that its pools are queued."""
    item = server.get(NODES, name)
    labels = {**item["metadata"]["labels"], "touched": text}
    server.update(NODES, {**item, "metadata": {**item["metadata"], "labels": labels}})


# -- the operator's writes


def offers(server: FakeApiServer, name: str) -> list[str]:
    """The providers that a pod was offered to, in order."""
    annotations = server.get(PODS, name, "default")["metadata"].get("annotations", {})
    return [offer.provider for offer in parse_offers(annotations.get(OFFERS, ""))]


def sent(server: FakeApiServer) -> dict[str, list[str]]:
    """The pods that were sent to standbys, each with its standbys."""
    names = [item["metadata"]["name"] for item in server.items(PODS)]
    return {name: found for name in names if (found := offers(server, name))}


def patches_of(server: FakeApiServer, name: str) -> int:
    """How many patches of a pod came in."""
    return sum(call.path.endswith(f"/pods/{name}") for call in server.calls_of("patch"))


def conditions(server: FakeApiServer) -> dict[str, tuple[str, str]]:
    """The pool's conditions: status and reason by type."""
    found = server.get(COMPUTEPOOLS, POOL).get("status", {}).get("conditions", [])
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in found}


def status(server: FakeApiServer) -> Json:
    """The pool's status."""
    found: Json = server.get(COMPUTEPOOLS, POOL).get("status", {})
    return found


_FORGOTTEN = {("True", "InsufficientCapacity"), ("False", "AllWell")}
"""A process that is killed before it has written of a hold-off takes it along, and the next process need not see it."""


def end_state(server: FakeApiServer) -> Json:
    """Everything that an operator has made, without the times at which it did."""
    seen = status(server)
    return {
        "pods": {item["metadata"]["name"]: _pod_state(item) for item in server.items(PODS)},
        "conditions": {kind: found for kind, found in conditions(server).items() if found not in _FORGOTTEN},
        "providers": seen.get("providers"),
        "pending": seen.get("pending"),
        "admission": seen.get("admission"),
        "bindings": [item["metadata"]["name"] for item in server.items(BINDINGS)],
    }


def _pod_state(item: Json) -> Json:
    meta, spec = item["metadata"], item["spec"]
    annotations = dict(meta.get("annotations", {}))
    return {
        "labels": meta.get("labels", {}),
        "offers": [offer.provider for offer in parse_offers(annotations.pop(OFFERS, ""))],
        "annotations": annotations,
        "tolerations": spec.get("tolerations", []),
        "node": spec.get("nodeName", ""),
    }


class Scheduler:
    """Binds pods to the first node, in the order of their names, that they tolerate and that has room."""

    def __init__(self, server: FakeApiServer) -> None:
        """It works from now on, as long as the server does."""
        self._server = server
        self._woken = False
        server.store.listeners.append(self._changed)
        self.run()

    def run(self) -> None:
        """Bind all pods that fit."""
        self._woken = False
        nodes = [node_record(item) for item in self._server.items(NODES)]
        pods = [(pod_record(item), item) for item in self._server.items(PODS)]
        left = left_of(nodes, [record for record, _ in pods])
        for waiting, item in pods:
            chosen = next(
                (node for node in nodes if not waiting.node and fits(waiting.shape, node, left[node.name])), None
            )
            if chosen is not None:
                take(waiting, left[chosen.name])
                bound = {**item["spec"], "nodeName": chosen.name}
                self._server.update(PODS, {**item, "spec": bound, "status": {"phase": "Running"}})

    def _changed(self, collection: str, _change: Change) -> None:
        if collection in (PODS, NODES) and not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self.run)
