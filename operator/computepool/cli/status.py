"""`computepool status`: pools and their providers, a table."""

from rich.console import Console
from rich.table import Table

from computepool.cli.view import NotFoundError, load_pools
from computepool.kube.access import load_access
from computepool.kube.client import ApiClient
from computepool.model.api import ComputePool, ConditionStatus

_BAD_WHEN = {"Ready": ConditionStatus.FALSE, "Degraded": ConditionStatus.TRUE, "Resilient": ConditionStatus.FALSE}


async def show(kubeconfig: str | None, name: str | None, console: Console) -> None:
    """Print all pools, or one. Raises NotFoundError where there is none of that name."""
    async with ApiClient(await load_access(kubeconfig)) as client:
        pools = await load_pools(client)
    if name is not None:
        pools = [pool for pool in pools if pool.name == name]
        if not pools:
            raise NotFoundError(f"there is no ComputePool {name!r}: see `kubectl get computepools`")
    if not pools:
        console.print("There is no ComputePool in the cluster yet.")
    for pool in pools:
        _show(pool, console)


def _show(pool: ComputePool, console: Console) -> None:
    status = pool.status
    console.print(f"\n[bold]{pool.name}[/bold]  {pool.spec.mode}  {pool.spec.accelerator.resource_name}")
    if not status.conditions:
        console.print("  Not looked at yet: is the operator running? (kubectl get pods, computepool run)")
        return
    if status.observed_generation < pool.metadata.generation:
        console.print("  The spec has changed; what follows is about the one before.")
    console.print(providers_table(pool))
    console.print(f"  {status.pending.pods} pod(s) wait, {status.pending.accelerators} accelerator(s)")
    for condition in status.conditions:
        bad = _BAD_WHEN.get(condition.type) is condition.status
        colour = "red" if bad else "default"
        console.print(
            f"  [{colour}]{condition.type}={condition.status}[/{colour}] {condition.reason}: {condition.message}"
        )
    if status.last_decision is not None:
        decision = status.last_decision
        console.print(
            f"  Last: {decision.time:%Y-%m-%d %H:%M:%S} {decision.action} ({decision.reason}) {decision.message}"
        )


def providers_table(pool: ComputePool) -> Table:
    """Return a pool's providers as a table: capacity in accelerators, the pool's pods, cost and admission."""
    table = Table(box=None, pad_edge=True)
    for heading in ("Provider", "Role", "Nodes", "In use", "Free", "Sick", "Burst", "Cost/h", "Admission"):
        table.add_column(heading, justify="left" if heading in ("Provider", "Role", "Admission") else "right")
    admitted = pool.status.admission.tolerations
    for index, provider in enumerate(pool.status.providers):
        spec = pool.spec.provider(provider.name)
        is_open = bool(index and admitted and spec and spec.effective_tolerations() == admitted)
        counts = provider.accelerators
        table.add_row(
            provider.name,
            "standby" if index else "primary",
            str(provider.nodes),
            f"{counts.allocated}/{counts.allocatable}",
            str(counts.free),
            str(counts.unhealthy),
            str(provider.burst_pods),
            provider.cost_per_hour or "-",
            "open" if is_open else "",
        )
    return table
