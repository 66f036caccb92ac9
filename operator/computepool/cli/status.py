"""`computepool status`: pools and their providers as tables."""

import re
from decimal import Decimal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from computepool.cli.cluster_view import NotFoundError, load_pools
from computepool.cli.console import make_table
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.model.api import (
    BreakerState,
    BudgetStatus,
    ComputePool,
    ConditionStatus,
    ProviderStatus,
    SignalVerdict,
)
from computepool.model.reasons import Reason
from computepool.model.text import printable
from computepool.report.conditions import CONFIGURED, DEGRADED, READY, RESILIENT
from computepool.report.formatting import counted, span

_BAD_WHEN = {
    READY: ConditionStatus.FALSE,
    DEGRADED: ConditionStatus.TRUE,
    RESILIENT: ConditionStatus.FALSE,
    CONFIGURED: ConditionStatus.FALSE,
}
_COMMAND = re.compile(r"`(kubectl [^`]+)`")
"""A command in the message of a condition."""


async def show(kubeconfig: str | None, name: str | None, console: Console, now: float) -> None:
    """Print all pools, or one; `now`: seconds since the epoch. Raises NotFoundError where no pool has that name."""
    async with ApiClient(await load_access(kubeconfig)) as client:
        pools = await load_pools(client)
    if name is not None:
        pools = [pool for pool in pools if pool.name == name]
        if not pools:
            raise NotFoundError(f"there is no ComputePool {name!r}: see `kubectl get computepools`")
    if not pools:
        console.print("There is no ComputePool in the cluster yet.")
    for index, pool in enumerate(pools):
        if index:
            console.print()
        show_pool(pool, console, now)


def show_pool(pool: ComputePool, console: Console, now: float) -> None:
    """Print what the operator last reported of a pool."""
    status = pool.status
    console.print(Text.assemble((pool.name, "bold"), f"  {pool.spec.mode}  {pool.spec.accelerator.resource_name}"))
    if not status.conditions:
        _say(console, "Not looked at yet: is the operator running?")
        return
    if status.observed_generation < pool.metadata.generation:
        _say(console, "The spec has changed since; what follows is about the previous spec.")
    console.print(providers_table(pool))
    console.print()
    pending = status.pending
    cost = f" The pool costs {status.cost_per_hour} an hour." if status.cost_per_hour else ""
    wanted = counted(pending.accelerators, "accelerator")
    gated = f" {counted(pending.gated, 'pod')} held back by scheduling gates." if pending.gated else ""
    _say(console, f"{counted(pending.pods, 'pod')} waiting for {wanted}.{gated}{cost}")
    console.print()
    console.print(conditions_table(pool))
    _show_commands(pool, console)
    if status.signals:
        console.print()
        console.print(signals_table(pool))
    if status.forecast is not None:
        console.print()
        _say(console, f"Forecast ({status.forecast.reason}): {status.forecast.message}")
    if status.budget is not None:
        _say(console, _spent(pool, status.budget))
    if status.last_decision is not None:
        decision, ago = status.last_decision, span(now - status.last_decision.time.timestamp())
        console.print()
        _say(console, f"Last decision, {ago} ago: {decision.action} ({decision.reason}). {decision.message}")


def providers_table(pool: ComputePool) -> Table:
    """Return a pool's providers as a table: capacity in accelerators, the pool's pods, cost, and whether it is used."""
    table = Table(box=None, pad_edge=True)
    for heading in ("Provider", "Role", "Nodes", "In use", "Free", "Unusable", "Burst", "Cost/h", "Use"):
        table.add_column(heading, justify="left" if heading in ("Provider", "Role", "Use") else "right")
    admitted, standstill = pool.status.admission.tolerations, _standstill(pool)
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
            _use(provider, standstill, is_open=is_open),
            style="default" if provider.breaker.state is BreakerState.CLOSED else "red",
        )
    return table


def _use(provider: ProviderStatus, standstill: str, *, is_open: bool) -> str:
    """Say in a few words whether new pods go there, by its breaker and by the last decision about admission."""
    match provider.breaker.state:
        case BreakerState.OPEN:
            text = "drained" if provider.breaker.reason == Reason.DRAINED else "failed"
        case BreakerState.HALF_OPEN:
            text = "on trial"
        case _:
            text = "admits" if is_open else ""
    return ", ".join(word for word in (text, standstill) if word)


def _standstill(pool: ComputePool) -> str:
    """Say that nothing is decided now, or that no running pod is moved; empty where neither is so."""
    ready, degraded = pool.status.condition(READY), pool.status.condition(DEGRADED)
    if ready is not None and ready.status is not ConditionStatus.TRUE:
        return "frozen"
    held_back = degraded is not None and degraded.reason == Reason.TOO_MANY_FAILED
    return "held back" if held_back else ""


def conditions_table(pool: ComputePool) -> Table:
    """Return a pool's conditions as a table; what a person should look at is red."""
    table = make_table("Condition", "Status", "Reason", "Message")
    for condition in pool.status.conditions:
        bad = _BAD_WHEN.get(condition.type) is condition.status
        style = "red" if bad else "default"
        table.add_row(condition.type, condition.status, condition.reason, condition.message, style=style)
    return table


def _show_commands(pool: ComputePool, console: Console) -> None:
    """Print the commands that mend the configuration, each on a line of its own, so that they can be copied."""
    configured = pool.status.condition(CONFIGURED)
    commands = _COMMAND.findall(configured.message) if configured is not None else []
    if commands:
        console.print()
        _say(console, "To mend the configuration:")
    for command in commands:
        console.print(f"   {printable(command)}", soft_wrap=True)


def signals_table(pool: ComputePool) -> Table:
    """Return a pool's signals from metrics as a table; what is Unknown is red."""
    table = make_table("Signal", "Verdict", "Value", "Age", "Covered", "Message")
    for signal in pool.status.signals:
        unknown = signal.verdict is SignalVerdict.UNKNOWN
        held = " (was on)" if unknown and signal.on else ""
        covered = f"{signal.coverage_percent} %"
        age = "-" if signal.age_seconds is None else f"<= {span(signal.age_seconds)}"
        style = "red" if unknown else "default"
        table.add_row(
            signal.key, f"{signal.verdict}{held}", signal.value or "-", age, covered, signal.message, style=style
        )
    return table


def _spent(pool: ComputePool, budget: BudgetStatus) -> str:
    spec = pool.spec.budget
    limit = f" of {spec.per_day}" if spec is not None and spec.per_day else ""
    return f"Spent on standbys on {budget.day} (UTC): {Decimal(budget.spent):.2f}{limit}."


def _say(console: Console, text: str) -> None:
    console.print(Padding(text, (0, 1), expand=False))
