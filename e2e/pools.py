"""ComputePools for a site: manifests that select its pods and nodes only, and waiting for what they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from e2e.kubeapi import KubeApi
from e2e.objects import PROVIDER_KEY, PROVIDERS_ANNOTATION
from e2e.site import Site

Json = dict[str, Any]
T = TypeVar("T")

POOLS = "computepools.computepool.io"
BINDINGS = "mutatingadmissionpolicybindings.admissionregistration.k8s.io"
BURST_LABEL = "computepool.io/burst"
OFFERS = "computepool.io/offers"
SIGNALS = "computepool.io/signals"
ALLOWED = PROVIDERS_ANNOTATION
AT_ONCE: Mapping[str, Any] = {"pendingSeconds": 0, "sustainSeconds": 0, "clearSeconds": 1}
"""Saturation that tests need not wait for."""


def provider(site: Site, name: str, **more: Any) -> Json:
    """A provider whose nodes are the site's nodes of that name."""
    return {"name": name, "nodeSelector": {"matchLabels": {PROVIDER_KEY: name, **site.labels}}, **more}


def pool_of(site: Site, providers: Sequence[Json | str], name: str | None = None, **spec: Any) -> Json:
    """A pool for all pods of the site; its name is the site's unless given. Admission is off unless asked for."""
    return {
        "apiVersion": "computepool.io/v1alpha1",
        "kind": "ComputePool",
        "metadata": {"name": name or site.namespace},
        "spec": {
            "workloads": {"namespaceSelector": {"matchLabels": dict(site.labels)}},
            "providers": [provider(site, given) if isinstance(given, str) else given for given in providers],
            "saturation": dict(AT_ONCE),
            "admission": {"mode": "Off"},
            **spec,
        },
    }


@contextmanager
def pool(site: Site, providers: Sequence[Json | str], name: str | None = None, **spec: Any) -> Iterator[Json]:
    """A pool for as long as the block lasts."""
    created = site.api.create(pool_of(site, providers, name, **spec))
    try:
        yield created
    finally:
        if site.api.find(POOLS, created["metadata"]["name"]) is not None:
            site.api.delete(POOLS, created["metadata"]["name"])


def wait_status(
    api: KubeApi, pool_name: str, condition: Callable[[Json], T | None], what: str, *, timeout: float = 30
) -> T:
    """Wait until `condition`, given the pool's status, returns something true, and return that.

    The status is empty while the pool has none: the operator writes it a moment after its first pass.
    """

    def turned(found: list[Json]) -> T | None:
        return condition(found[0].get("status", {}) if found else {})

    return api.wait_for(POOLS, turned, name=pool_name, what=what, timeout=timeout)


def provider_in(status: Json, name: str) -> Json:
    """A provider's entry in a pool's status; empty while there is none."""
    return next((dict(entry) for entry in status.get("providers", []) if entry["name"] == name), {})


def wait_condition(
    site: Site,
    pool_name: str,
    kind: str,
    status: str,
    reason: str | None = None,
    says: str = "",
    *,
    timeout: float = 30,
) -> Json:
    """Wait until a pool's condition has a status, a reason if one is given, and says something; return it."""

    def turned(status_now: Json) -> Json | None:
        for condition in status_now.get("conditions", []):
            if (condition["type"], condition["status"]) == (kind, status) and reason in (None, condition["reason"]):
                return dict(condition) if says in condition["message"] else None
        return None

    return wait_status(site.api, pool_name, turned, f"{kind}={status} {reason or ''} {says!r}", timeout=timeout)


def wait_admission(site: Site, pool_name: str, *, is_open: bool) -> Json:
    """Wait until admission is open or closed; return status.admission."""

    def turned(status: Json) -> Json | None:
        admission = status.get("admission", {})
        return dict(admission) if status and bool(admission.get("tolerations")) == is_open else None

    return wait_status(site.api, pool_name, turned, f"admission open={is_open}")


def sent(site: Site, labels: str = "app=new") -> list[Json]:
    """The pods that were offered to a provider, as they are now."""
    return [pod for pod in site.pods(labels) if _offered(pod)]


def wait_sent(site: Site, labels: str = "app=new") -> None:
    """Wait until the first of these pods was offered to a provider."""
    site.api.wait_for(
        "pods",
        lambda found: any(map(_offered, found)),
        site.namespace,
        labels=labels,
        what="the first pod sent to a standby",
    )


def _offered(pod: Json) -> bool:
    return OFFERS in pod["metadata"].get("annotations", {})


def events(site: Site, name: str, namespace: str = "default") -> list[Json]:
    """The events about one object."""
    found = site.api.list("events.events.k8s.io", namespace)
    return [event for event in found if event["regarding"]["name"] == name]
