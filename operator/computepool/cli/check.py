"""`computepool check`: does an operator lead, and has it read all pools?"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from rich.console import Console

from computepool.cli.errors import ToldError
from computepool.cli.leader import Leader, LeaderWatch, Leading, LeaseAddress
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.errors import ApiError, decoded
from computepool.model.reasons import Reason
from computepool.report.conditions import READY
from computepool.report.formatting import counted, full_stop, listed

PAUSE_SECONDS = 0.5
"""Between two looks. A leader renews its Lease every 2 s."""
NAMED_POOLS = 5
NEEDS = "get the operator's Lease and list computepools"

_T = TypeVar("_T")
_LOOK = "Look at the operator's pods and their logs."


class CheckError(ToldError):
    """The operator does not do its work; the message says what is wrong, and what to look at."""


class NotYetWellError(CheckError):
    """The same, and a later look may find all well."""


class _Meta(msgspec.Struct):
    name: str
    generation: int = 0


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = -1
    conditions: list[_Condition] = []


class _Pool(msgspec.Struct):
    """What every version of the operator writes, so that a pool of any version can be looked at."""

    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def ready(self) -> _Condition | None:
        return next((found for found in self.status.conditions if found.type == READY), None)


_POOL = msgspec.json.Decoder(_Pool)


async def run(
    kubeconfig: str | None, context: str | None, lease: LeaseAddress, console: Console, *, wait_seconds: float
) -> None:
    """Check the leader, then the pools, each for at most `wait_seconds`, and print a sentence about each.

    Raises AccessError, ApiError if the cluster can't be read, and CheckError.
    """
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        watch = LeaderWatch(client, lease)
        leader = await _until(lambda: _living_leader(watch), wait_seconds)
        pools = await _until(lambda: _read_pools(client), wait_seconds)
    console.print(f"{leader.name} leads: it has just renewed the {lease}.")
    console.print(f"It has read {counted(len(pools), 'pool')}." if pools else "There is no ComputePool yet.")
    for pool in pools:
        if pool.ready is not None and pool.ready.status != "True":
            console.print(f"Pool {pool.metadata.name} is not Ready ({pool.ready.reason}): {pool.ready.message}")


async def _living_leader(watch: LeaderWatch) -> Leader:
    """Return the leader. Raises CheckError until it is seen to renew its Lease, and if it can't do its work."""
    leader = await watch.look()
    if leader.leading is Leading.LEADS and not watch.saw_renewal:
        raise NotYetWellError(
            f"{leader.name} is not seen to renew its Lease; the last time was {leader.renewed_at}. It does not run any "
            f"more, or can't reach the API server. {_LOOK}"
        )
    if leader.leading is Leading.UNKNOWN and not leader.is_undecided:
        raise CheckError(leader.message)
    if leader.leading is not Leading.LEADS:
        raise NotYetWellError(f"{leader.message} {_LOOK}")
    if leader.trouble:
        raise NotYetWellError(f"{leader.name} leads, and can't do its work: {leader.trouble}")
    return leader


async def _read_pools(client: ApiClient) -> list[_Pool]:
    """Return all pools. Raises NotYetWellError while the operator has not read some, or fails to decide about some."""
    pools = []
    async for page in client.list_pages(paths.POOLS):
        pools += [decoded(_POOL, raw, request=f"GET {paths.POOLS}") for raw in page.items]
    unread = [
        pool.metadata.name
        for pool in pools
        if pool.ready is None or pool.status.observed_generation < pool.metadata.generation
    ]
    if unread:
        raise NotYetWellError(
            f"The operator has not reported on {counted(len(unread), 'pool')} since the last change of the spec: "
            f"{listed(sorted(unread), NAMED_POOLS)}. Look at its log."
        )
    failed = {
        pool.metadata.name: pool.ready.message
        for pool in pools
        if pool.ready is not None and pool.ready.reason == Reason.PASS_FAILED
    }
    if failed:
        name = min(failed)
        more = f" So do {listed(sorted(failed)[1:], NAMED_POOLS)}." if len(failed) > 1 else ""
        raise NotYetWellError(f"Passes over pool {name} fail: {full_stop(failed[name])}{more}")
    return pools


async def _until(look: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    """Look again and again until all is well or the time is over. Raises the error of the last look."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        try:
            return await look()
        except (NotYetWellError, ApiError) as error:
            if clock() >= deadline or (isinstance(error, ApiError) and not error.retryable):
                raise
        await asyncio.sleep(PAUSE_SECONDS)
