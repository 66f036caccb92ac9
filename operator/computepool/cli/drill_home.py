"""`computepool drill --live --wait-home`: after the drill, wait until the provider is as it was before."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Final

from rich.console import Console

from computepool.app.caches import UNFINISHED
from computepool.cli import drill_field
from computepool.cli.drill_seed import Found, nodes_of, read_list
from computepool.cli.drill_text import Told
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError
from computepool.model.api import BreakerState, ComputePool, FailbackPolicy
from computepool.model.cluster import Pod
from computepool.observe.decode import Records
from computepool.report.formatting import counted

POLL_SECONDS: Final = 2.0


async def wait(client: ApiClient, found: Found, told: Told, console: Console) -> None:
    """Wait until the provider's breaker is closed and, if pods come home to it, until as many pods run there as before.

    Ctrl-C ends it; nothing is left to put back. Raises ApiError that does not pass.
    """
    pool, provider = told.pool, told.course.provider
    wanted = Counter(fate.pod.owner for fate in told.course.fates if fate.pod.owner) if _come_home(told) else Counter()
    console.print(f"Waiting until {provider} is as before. Ctrl-C ends the wait.")
    nodes, records, shown = nodes_of(found.seed, provider), Records(), ""
    while True:
        try:
            stored = await drill_field.read_stored(client, pool.name)
            pods = await read_list(client, paths.PODS, records.pod, set(), UNFINISHED)
        except ApiError as error:
            if not error.retryable:
                raise
        else:
            state, missing = _state(stored.pool, provider), _missing(wanted, pods, nodes)
            if state is BreakerState.CLOSED and not missing:
                console.print(f"{provider} is as before.")
                return
            line = f"Its breaker is {state}; {counted(missing, 'pod')} not back yet."
            if line != shown:
                console.print(line)
            shown = line
        await asyncio.sleep(POLL_SECONDS)


def _come_home(told: Told) -> bool:
    """Say whether pods come back to the provider by themselves: only to the primary, and only by failback."""
    spec = told.pool.spec
    return spec.primary.name == told.course.provider and spec.failback.policy is not FailbackPolicy.NEVER


def _state(pool: ComputePool, provider: str) -> BreakerState:
    report = next((report for report in pool.status.providers if report.name == provider), None)
    return BreakerState.CLOSED if report is None else report.breaker.state


def _missing(wanted: Counter[str], pods: Iterable[Pod], nodes: frozenset[str]) -> int:
    there = Counter(pod.owner for pod in pods if pod.ready and pod.deleting is None and pod.node in nodes)
    return sum((wanted - there).values())
