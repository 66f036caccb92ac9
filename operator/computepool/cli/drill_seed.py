"""One read of the cluster for `computepool drill`: everything that the simulated copy begins with."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median_high
from typing import Final, TypeVar

import msgspec

from computepool.app.caches import UNFINISHED
from computepool.app.settings import RESERVED_NAMESPACES
from computepool.cli.cluster_view import NotFoundError, load_pools, take_all
from computepool.cli.recorded_state import signals_in, state_of
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden
from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from computepool.observe.decode import Namespace, Records
from computepool.observe.disruption_budgets import DisruptionBudget, disruption_budget
from computepool.report.formatting import counted, listed, span
from computepool.simulate.drill import Seed
from computepool.simulate.operator import Surroundings

_NAMED: Final = 3
_T = TypeVar("_T")


class Found(msgspec.Struct, frozen=True):
    """What was read."""

    seed: Seed
    notes: tuple[str, ...]
    """What is not known, as sentences."""


async def read_seed(client: ApiClient, operator_namespace: str, name: str) -> Found:
    """Read the pool of that name and the cluster. Raises ApiError, also for a missing right, and NotFoundError."""
    now = time.time()
    pools = {pool.name: pool for pool in await load_pools(client)}
    pool = pools.pop(name, None)
    if pool is None:
        raise NotFoundError(f"there is no ComputePool {name!r}; there is {', '.join(sorted(pools)) or 'none yet'}")
    records, unread = Records(), set[str]()
    namespaces, nodes, pods, budgets = await asyncio.gather(
        read_list(client, paths.NAMESPACES, records.namespace, unread),
        read_list(client, paths.NODES, records.node, unread),
        read_list(client, paths.PODS, records.pod, unread, UNFINISHED),
        _read_budgets(client, unread),
    )
    start_seconds, about_start = _start_seconds(pool, pods, {node.name for node in nodes})
    notes = [about_start]
    if budgets is None:
        notes.append("PodDisruptionBudgets may not be listed, so evictions that they refuse are not counted.")
    if unread:
        notes.append(f"Objects that this version can't read are left out: {listed(sorted(unread), _NAMED)}.")
    state = state_of(pool, nodes)
    if state.recorded.unsettled:
        notes.append(
            "An earlier move by choice has not ended, or came to nothing. So other pods of its owner, or of its "
            "namespace, stay here for longer than they may really have to."
        )
    if pools:
        notes.append("Other pools keep their pods here: what their own operator would do is not played.")
    return Found(
        Seed(
            pool=pool,
            nodes=tuple(nodes),
            pods=tuple(pod for pod in pods if not pod.finished),
            now=now,
            state=state,
            around=_surroundings(namespaces, operator_namespace, pools.values()),
            budgets=tuple(budgets or ()),
            signals=signals_in(pool),
            start_seconds=start_seconds,
        ),
        tuple(notes),
    )


def nodes_of(seed: Seed, provider: str) -> frozenset[str]:
    """Return the names of a provider's nodes. A node that matches several providers belongs to the first of them."""
    selectors = [(spec.name, spec.node_selector.compiled()) for spec in seed.pool.spec.providers]
    owners = {
        node.name: next((name for name, selector in selectors if selector.matches(node.labels)), "")
        for node in seed.nodes
    }
    return frozenset(node for node, owner in owners.items() if owner == provider)


def _surroundings(
    namespaces: Iterable[Namespace], operator_namespace: str, others: Iterable[ComputePool]
) -> Surroundings:
    return Surroundings(
        namespaces={namespace.name: namespace.labels for namespace in namespaces},
        reserved_namespaces=frozenset((*RESERVED_NAMESPACES, operator_namespace)),
        other_pools=tuple(others),
    )


async def read_list(
    client: ApiClient,
    path: str,
    decode: Callable[[bytes], _T],
    unread: set[str],
    query: Mapping[str, str] | None = None,
) -> list[_T]:
    """List objects. Objects that can't be read are left out, and noted in `unread`. Raises ApiError."""
    found: list[_T] = []
    for error in await take_all(client, path, lambda raw: found.append(decode(raw)), query):
        unread.add(f"{path.rpartition('/')[2]} ({error})")
    return found


async def _read_budgets(client: ApiClient, unread: set[str]) -> list[DisruptionBudget] | None:
    """Return all disruption budgets; None where they may not be listed."""
    try:
        return await read_list(client, paths.DISRUPTION_BUDGETS, disruption_budget, unread)
    except Forbidden:
        return None


def _start_seconds(pool: ComputePool, pods: Iterable[Pod], nodes: set[str]) -> tuple[float, str]:
    """Return how long the pool's pods take to be Ready, and a sentence about how that is known."""
    forecast = pool.status.forecast
    if forecast is not None and forecast.standby_ready_seconds is not None:
        seconds = float(forecast.standby_ready_seconds)
        return seconds, f"Pods are Ready {span(seconds)} after they are bound, as the pool's forecast has measured."
    resource = pool.spec.accelerator.resource_name
    times = [
        pod.ready_since - pod.started
        for pod in pods
        if pod.node in nodes
        and request_of(pod, resource)
        and pod.ready_since is not None
        and pod.started is not None
        and pod.ready_since >= pod.started
    ]
    if not times:
        return 0.0, "The time that pods take to start is not known, so it is not counted."
    seconds = median_high(times)
    took = f"as the median of {counted(len(times), 'pod')} that run now"
    return seconds, f"Pods are Ready {span(seconds)} after they are bound, {took}."
