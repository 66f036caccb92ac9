"""Watches over a provider whose breaker is closed, open or half-open, and the pods that come to it."""

from __future__ import annotations

from typing import Any

from computepool.model.api import BreakerState
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import Breaker
from tests.builders import NOW, node, pod, pool, pool_state, provider
from tests.unit.core.watching import Watch

AWS = [node(f"a{index}") for index in range(4)]
NEBIUS = [node(f"n{index}") for index in range(4)]
LOST = [node(f"n{index}", ready="Unknown") for index in range(4)]
OPEN, HALF_OPEN, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED


def watching(*, drain: bool = False, on_demand: bool = False, nodes: list[Node] = NEBIUS, **health: Any) -> Watch:
    """A watch over aws and nebius that has seen both healthy, an hour before NOW."""
    watch = Watch(two(drain=drain, on_demand=on_demand, **health))
    watch.see(-3600, [*AWS, *nodes])
    return watch


def two(**options: Any) -> Any:
    options = {"clearSeconds": 60, **options}
    fields = {name: options.pop(name) for name in ("drain", "on_demand", "timeout") if name in options}
    return pool(provider("aws"), provider("nebius", **fields), health=options)


def opened(failures: int = 1, since: float = -100, retry_at: float = -40, **options: Any) -> Watch:
    """A watch over a provider whose breaker is open, as another leader has recorded it."""
    breaker = Breaker(OPEN, Reason.PROVIDER_UNHEALTHY, NOW + since, NOW + retry_at, failures)
    return Watch(two(**options), pool_state(breakers={"nebius": breaker}))


def half_open(failures: int = 1, **options: Any) -> Watch:
    """A watch over a provider whose breaker has been half-open since NOW, with n0 to be tried."""
    breaker = Breaker(HALF_OPEN, Reason.PROVIDER_UNHEALTHY, NOW, failures=failures, node="n0")
    return Watch(two(**options), pool_state(breakers={"nebius": breaker}))


def fresh(name: str = "new", on: str = "n0", created: float = 1, **fields: Any) -> Pod:
    """A pod that came since NOW."""
    return pod(name, on=on, created=NOW + created, **fields)
