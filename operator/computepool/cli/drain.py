"""`computepool drain POOL/PROVIDER`: take a provider out of use by hand, and bring it back."""

import asyncio
from typing import Final

import msgspec
from rich.console import Console

from computepool.cli import stored_pool
from computepool.cli.cluster_view import NotFoundError, load_pools
from computepool.cli.errors import ToldError
from computepool.cli.names import is_name
from computepool.cli.stored_pool import ATTEMPTS, Json, Stored, disown, edit, read_stored
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.errors import Conflict, Invalid
from computepool.model.api import (
    BreakerState,
    CapacityType,
    ComputePool,
    DrainedPods,
    Mode,
    ProviderSpec,
    ProviderStatus,
)
from computepool.report.formatting import counted, span

_MANAGER: Final = "computepool-drain"


class DrainError(ToldError):
    """The provider was not drained, or its drain did not end; the message says why, and what to do."""


class Target(msgspec.Struct, frozen=True):
    """The provider to drain, and how."""

    pool: str
    provider: str
    drain: bool
    """False: the drain ends."""
    move: bool = False
    """Whether running pods leave."""

    @property
    def pods(self) -> DrainedPods | None:
        """What happens to running pods; None where the drain ends."""
        if not self.drain:
            return None
        return DrainedPods.MOVE if self.move else DrainedPods.LEAVE

    def is_reached(self, spec: ProviderSpec) -> bool:
        """Say whether the provider's spec says so already."""
        return (spec.drain, spec.drain_running_pods) == (self.drain, self.pods)


def parse_target(text: str) -> tuple[str, str]:
    """Return the names of the pool and of the provider. Raises DrainError for any other text."""
    pool, _, provider = text.partition("/")
    if not (is_name(pool) and is_name(provider)):
        raise DrainError(f"{text!r} names no provider: give POOL/PROVIDER, such as inference/nebius")
    return pool, provider


async def run(kubeconfig: str | None, context: str | None, target: Target, console: Console, *, dry_run: bool) -> None:
    """Set or end the drain, and say what follows. With `dry_run` the API server checks it and changes nothing.

    Raises AccessError, ApiError, NotFoundError, PoolEditError and DrainError.
    """
    async with ApiClient(await load_access(kubeconfig, context)) as client:
        for _ in range(ATTEMPTS):
            stored = await _read(client, target.pool)
            pool = stored.pool
            spec = pool.spec.providers[stored.position(target.provider)]
            if target.is_reached(spec):
                now = "drained already" if target.drain else "not drained"
                console.print(f"{target.provider} of pool {target.pool} is {now}. Nothing was changed.")
                if not target.drain and not dry_run:
                    await disown(client, target.pool, _MANAGER)
                if spec.drill is not None and not target.drain:
                    console.print(f"It has a drill: end it with computepool drill --restore {target.pool}")
                return
            try:
                await edit(client, target.pool, _patch(target, stored), _MANAGER, dry_run=dry_run)
            except (Invalid, Conflict):
                if stored.has_spec_of(await _read(client, target.pool)):
                    # Nobody else changed the pool, so another attempt would be refused too.
                    raise
                await asyncio.sleep(stored_pool.PAUSE_SECONDS)
                continue
            if not target.drain and not dry_run:
                await disown(client, target.pool, _MANAGER)
            for line in lines(pool, target, dry_run=dry_run):
                console.print(line)
            return
    raise DrainError(f"pool {target.pool!r} is changed again and again by others: nothing was changed, try again")


async def _read(client: ApiClient, name: str) -> Stored:
    try:
        return await read_stored(client, name)
    except NotFoundError:
        # Without the CRD this fails as well, and the error says so.
        names = ", ".join(pool.name for pool in await load_pools(client))
        raise NotFoundError(f"there is no ComputePool {name!r}; there is {names or 'none yet'}") from None


def _patch(target: Target, stored: Stored) -> list[Json]:
    at = stored.path(target.provider)
    patch = [*stored.tests(target.provider), {"op": "add", "path": f"{at}/drain", "value": target.drain}]
    if target.pods is not None:
        patch.append({"op": "add", "path": f"{at}/drainRunningPods", "value": str(target.pods)})
    elif "drainRunningPods" in stored.obj["spec"]["providers"][stored.position(target.provider)]:
        patch.append({"op": "remove", "path": f"{at}/drainRunningPods"})
    return patch


# --- what follows


def lines(pool: ComputePool, target: Target, *, dry_run: bool) -> list[str]:
    """Return what the command prints: what it has done, and what follows by what the operator last reported."""
    name = f"{target.provider} of pool {pool.name}"
    if target.drain:
        done = f"{name} would be drained" if dry_run else f"{name} is drained"
        verb = "would be" if pool.spec.mode is Mode.OBSERVE else "is"
        said = [f"{done}: no new pod {verb} sent there.", *_consequences(pool, target)]
        in_git = "set drain and drainRunningPods"
    else:
        done = f"The drain of {name} would end" if dry_run else f"The drain of {name} has ended"
        trial = "The provider is on trial then, until a first pod is healthy there, or no pod has come for a while"
        said = [f"{done}. {trial}."]
        in_git = "remove drain and drainRunningPods"
    if pool.spec.mode is Mode.OBSERVE:
        said.append("The pool is in mode Observe: the operator only reports what it would do.")
    if dry_run:
        return [*said, "Nothing was changed."]
    return [*said, f"If the pool's manifest is kept in git, {in_git} there too. Otherwise the next sync undoes this."]


def _consequences(pool: ComputePool, target: Target) -> list[str]:
    if not pool.status.conditions:
        return ["The operator has not reported on this pool yet, so the pods that run there are not known."]
    said = [_running(pool, target)]
    if target.move or pool.spec.primary.name == target.provider:
        said.append(_room(pool, target.provider))
    return said


def _running(pool: ComputePool, target: Target) -> str:
    report = next((found for found in pool.status.providers if found.name == target.provider), None)
    if report is None:
        runs = "Its running pods are not known yet"
    elif pool.spec.primary.name == target.provider:
        runs = f"It is the primary, and {counted(report.accelerators.allocated, 'accelerator')} there are held"
    elif report.burst_pods == 0:
        return "No pod of the pool runs there."
    else:
        runs = f"{counted(report.burst_pods, 'pod')} of the pool {'runs' if report.burst_pods == 1 else 'run'} there"
    if target.move:
        return f"{runs}. Running pods leave as moves by choice, within all limits, if they fit elsewhere.{_dwell(pool)}"
    return f"{runs}. Running pods stay until they end; with --move they leave."


def _dwell(pool: ComputePool) -> str:
    seconds = pool.spec.failback.min_dwell_seconds
    if not seconds:
        return ""
    return f" A pod stays until {span(seconds)} after it was sent or moved there (failback.minDwellSeconds)."


def _room(pool: ComputePool, drained: str) -> str:
    others = [report for report in pool.status.providers if report.name != drained and _takes_pods(report)]
    free = [f"{report.accelerators.free} on {report.name}" for report in others if report.accelerators.free]
    made = [report.name for report in others if _makes_nodes(pool.spec.provider(report.name))]
    parts = [f"free accelerators: {', '.join(free)}"] if free else []
    parts += [f"{name} makes nodes on demand" for name in made]
    if not parts:
        return "Elsewhere no accelerator is free now, so pods stay, or wait, until there is room."
    return f"Elsewhere: {'; '.join(parts)}."


def _takes_pods(report: ProviderStatus) -> bool:
    return report.breaker.state is BreakerState.CLOSED


def _makes_nodes(spec: ProviderSpec | None) -> bool:
    return spec is not None and spec.capacity.type is CapacityType.ON_DEMAND
