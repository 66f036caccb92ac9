"""The total request of a pod, as the scheduler counts it."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from computepool.kube.wire import PodSpec, ResourceRequirements
from computepool.model.cluster import Amounts
from computepool.model.quantity import parse

_Items = tuple[tuple[str, str], ...]
_CACHED: Final = 50_000


def effective_request(spec: PodSpec) -> Amounts:
    """Return the total request of a pod in thousandths, with the pod itself as one of the resource `pods`.

    max(sum of containers and sidecars, max over init containers with the sidecars started so far) + overhead; a
    request of the pod as a whole takes the place of its containers'. Source: component-helpers resource.PodRequests.
    """
    return _effective_request(
        tuple([_stated(container.resources) for container in spec.containers]),
        tuple([(init.restart_policy == "Always", _stated(init.resources)) for init in spec.init_containers or ()]),
        _stated(spec.resources),
        _items(spec.overhead),
    )


@lru_cache(maxsize=_CACHED)
def _effective_request(
    containers: tuple[_Items, ...], inits: tuple[tuple[bool, _Items], ...], pod: _Items, overhead: _Items
) -> Amounts:
    """Compute the total once for all pods of a workload. `inits`: whether each is a sidecar, and its request."""
    total = _sum(_parsed(request) for request in containers)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for sidecar, stated in inits:
        request = _sum((sidecars, _parsed(stated)))
        if sidecar:
            sidecars = request
        peak = _max(peak, request)
    total = _max(_sum((total, sidecars)), peak)
    total |= _parsed(pod)
    total = _sum((total, _parsed(overhead)))
    total["pods"] = 1000
    return tuple(sorted((name, amount) for name, amount in total.items() if amount > 0))


def _stated(resources: ResourceRequirements | None) -> _Items:
    return _items(resources.requests) if resources is not None else ()


def _items(amounts: dict[str, str] | None) -> _Items:
    return tuple(amounts.items()) if amounts else ()


def _parsed(amounts: _Items) -> dict[str, int]:
    # The API server refuses negative amounts; were there any, they would hide what other containers request.
    return {name: max(0, parse(text)) for name, text in amounts}


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            sums[name] = sums.get(name, 0) + amount
    return sums


def _max(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left.keys() | right.keys()}
