"""Pools with short time-outs, for tests that see a failover within seconds, and waits for its effects.

A test cluster's kubelets renew their Leases every second (Options.node_lease_seconds), so a silence of a few is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from e2e import pools
from e2e.site import Site

Json = dict[str, Any]

UNAVAILABLE = "computepool.io/unavailable"
MOVABLE = "computepool.io/movable"
SILENT_SECONDS = 5
"""Of Leases that are renewed every second: a busy machine may be late by some."""
HEALTH: Mapping[str, Any] = {
    "silentSeconds": SILENT_SECONDS,
    "sustainSeconds": 0,
    "clearSeconds": 1,
    "breaker": {"backoffSeconds": 1, "maxBackoffSeconds": 2, "proveSeconds": 0},
}
VISIBLY_HALF_OPEN: Mapping[str, Any] = {"backoffSeconds": 5, "maxBackoffSeconds": 5, "proveSeconds": 0}
"""A breaker that stays half-open without a pod for five seconds. The status is written once a second at most, so it may
skip a shorter time."""
FAILOVER: Mapping[str, Any] = {
    "runningPods": "Move",
    "silenceSeconds": SILENT_SECONDS,
    "maxConcurrentMoves": 100,
    "perMinute": 1000,
}
FAILBACK: Mapping[str, Any] = {"minDwellSeconds": 0}


def spec(**more: Mapping[str, Any]) -> Json:
    """Parts of a pool's spec: health, failover and failback with short windows, and `more` laid over each."""
    base: dict[str, Mapping[str, Any]] = {"health": HEALTH, "failover": FAILOVER, "failback": FAILBACK}
    laid = {part: {**given, **more.get(part, {})} for part, given in base.items()}
    return {**laid, **{part: given for part, given in more.items() if part not in base}}


def status_of(site: Site, pool: str) -> Json:
    """A pool's status as it is now; empty where it has none yet."""
    return dict(site.api.get(pools.POOLS, pool).get("status", {}))


def breaker_of(status: Json, provider: str) -> Json:
    """One provider's breaker in a status; empty where it is not told of."""
    return dict(pools.provider_in(status, provider).get("breaker", {}))


def wait_breaker(
    site: Site, pool: str, provider: str, state: str, reason: str | None = None, *, timeout: float = 60
) -> Json:
    """Wait until a provider's breaker is in a state, and for a reason if one is given; return the pool's status."""

    def turned(status: Json) -> Json | None:
        breaker = breaker_of(status, provider)
        fits = breaker.get("state") == state and reason in (None, breaker.get("reason"))
        return dict(status) if fits else None

    return pools.wait_status(site.api, pool, turned, f"breaker of {provider}={state} {reason or ''}", timeout=timeout)


def wait_unhealthy(site: Site, pool: str, count: int, *, timeout: float = 60) -> None:
    """Wait until the pool's status counts so many unhealthy nodes."""

    def turned(status: Json) -> bool:
        return sum(int(entry.get("unhealthyNodes", 0)) for entry in status.get("providers", [])) == count

    pools.wait_status(site.api, pool, turned, f"{count} unhealthy nodes", timeout=timeout)


def quarantine_of(nodes: Iterable[Json]) -> dict[str, str]:
    """The nodes that carry the operator's taint, and its value."""
    return {
        node["metadata"]["name"]: taint.get("value", "")
        for node in nodes
        for taint in node["spec"].get("taints", [])
        if taint["key"] == UNAVAILABLE
    }


def wait_quarantined(site: Site, names: Iterable[str], reason: str | None = None, *, timeout: float = 60) -> None:
    """Wait until exactly these of the site's nodes carry the operator's taint, with that reason if one is given."""
    wanted = set(names)

    def turned(nodes: list[Json]) -> bool:
        found = quarantine_of(nodes)
        return set(found) == wanted and (reason is None or set(found.values()) <= {reason})

    what = f"quarantine of {sorted(wanted)} {reason or ''}"
    site.api.wait_for("nodes", turned, labels=site.selector, timeout=timeout, what=what)


def wait_settled(site: Site, where: Mapping[str, int], labels: str = "role=work", *, timeout: float = 60) -> None:
    """Wait until so many pods of a workload run on each of these providers and nowhere else ("": they wait), besides
    those that are leaving.
    """
    count = sum(where.values())

    def turned(found: list[Json]) -> bool:
        staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return len(staying) == count and site.providers_of(staying) == dict(where)

    what = f"{dict(where)} of {labels}"
    site.api.wait_for("pods", turned, site.namespace, labels=labels, timeout=timeout, what=what)


def set_spec(site: Site, pool: str, patch: Json) -> None:
    """Change a pool's spec by a merge patch."""
    site.api.patch(pools.POOLS, pool, {"spec": patch})


def drain(site: Site, pool: str, provider: str, *, on: bool = True) -> None:
    """Set or lift the field `drain` of one provider."""
    providers = site.api.get(pools.POOLS, pool)["spec"]["providers"]
    changed = [entry | {"drain": on} if entry["name"] == provider else entry for entry in providers]
    set_spec(site, pool, {"providers": changed})
