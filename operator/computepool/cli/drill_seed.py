"""One read of the cluster for `computepool drill`: everything that the simulated copy begins with."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from statistics import median_high
from typing import Any, Final, TypeVar

import msgspec

from computepool.app.caches import UNFINISHED
from computepool.app.settings import RESERVED_NAMESPACES
from computepool.cli.cluster_view import NotFoundError, load_pools
from computepool.cli.recorded_state import signals_in, state_of
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import Forbidden
from computepool.kube.wire import Wire
from computepool.model.accelerators import request_of
from computepool.model.api import ComputePool, LabelSelector
from computepool.model.cluster import Pod
from computepool.observe.decode import Namespace, Records
from computepool.report.formatting import counted, listed, span
from computepool.simulate.disruption_budgets import DisruptionBudget
from computepool.simulate.drill import Seed
from computepool.simulate.operator import Surroundings

_NAMED: Final = 3
_T = TypeVar("_T")


class _BudgetMeta(Wire):
    name: str
    namespace: str = ""


class _BudgetSpec(Wire):
    selector: dict[str, Any] | None = None
    unhealthy_pod_eviction_policy: str = ""


class _BudgetStatus(Wire):
    desired_healthy: int = 0


class _Budget(Wire):
    """A PodDisruptionBudget."""

    metadata: _BudgetMeta
    spec: _BudgetSpec = msgspec.field(default_factory=_BudgetSpec)
    status: _BudgetStatus = msgspec.field(default_factory=_BudgetStatus)


_BUDGET: Final = msgspec.json.Decoder(_Budget)


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
        _read(client, paths.NAMESPACES, records.namespace, unread),
        _read(client, paths.NODES, records.node, unread),
        _read(client, paths.PODS, records.pod, unread, UNFINISHED),
        _read_budgets(client),
    )
    start_seconds, about_start = _start_seconds(pool, pods, {node.name for node in nodes})
    notes = [about_start]
    if budgets is None:
        notes.append("PodDisruptionBudgets may not be listed, so evictions that they refuse are not counted.")
    if unread:
        notes.append(f"Objects that this version can't read are left out: {listed(sorted(unread), _NAMED)}.")
    if pools:
        notes.append("Other pools keep their pods here: what their own operator would do is not played.")
    return Found(
        Seed(
            pool=pool,
            nodes=tuple(nodes),
            pods=tuple(pod for pod in pods if not pod.finished),
            now=now,
            state=state_of(pool, nodes),
            around=_surroundings(namespaces, operator_namespace, pools.values()),
            budgets=tuple(budgets or ()),
            signals=signals_in(pool),
            start_seconds=start_seconds,
        ),
        tuple(notes),
    )


def _surroundings(
    namespaces: Iterable[Namespace], operator_namespace: str, others: Iterable[ComputePool]
) -> Surroundings:
    return Surroundings(
        namespaces={namespace.name: namespace.labels for namespace in namespaces},
        reserved_namespaces=frozenset((*RESERVED_NAMESPACES, operator_namespace)),
        other_pools=tuple(others),
    )


async def _items(client: ApiClient, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
    async for page in client.list_pages(path, query):
        for raw in page.items:
            yield bytes(raw)


async def _read(
    client: ApiClient,
    path: str,
    decode: Callable[[bytes], _T],
    unread: set[str],
    query: Mapping[str, str] | None = None,
) -> list[_T]:
    found = []
    async for raw in _items(client, path, query):
        try:
            found.append(decode(raw))
        except (msgspec.ValidationError, ValueError) as error:
            # The operator goes on without objects that it can't read.
            unread.add(f"{path.rpartition('/')[2]} ({error})")
    return found


async def _read_budgets(client: ApiClient) -> list[DisruptionBudget] | None:
    """Return all disruption budgets; None where they may not be listed."""
    try:
        return [_budget(_BUDGET.decode(raw)) async for raw in _items(client, paths.DISRUPTION_BUDGETS)]
    except Forbidden:
        return None


def _budget(found: _Budget) -> DisruptionBudget:
    # A budget without a selector covers no pod, and an empty selector covers all pods.
    nothing = {"matchExpressions": [{"key": "computepool.io/none", "operator": "Exists"}]}
    selector = nothing if found.spec.selector is None else found.spec.selector
    return DisruptionBudget(
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        selector=LabelSelector.model_validate(selector).compiled(),
        desired=found.status.desired_healthy,
        always_unready=found.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
    )


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
