"""`computepool status`: who leads, and pools and their providers as tables."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from computepool.cli.cluster_view import NotFoundError, load_pools
from computepool.cli.console import make_table, print_data, print_table
from computepool.cli.errors import NEEDS_POOLS, sentence
from computepool.cli.leader import Leader, LeaderWatch, Leading, LeaseAddress, headline
from computepool.cli.options import Output
from computepool.kube.client import ApiClient
from computepool.kube.credentials import load_access
from computepool.kube.errors import ApiError
from computepool.model.api import (
    BreakerState,
    BudgetStatus,
    ComputePool,
    ConditionStatus,
    PoolStatus,
    ProviderSpec,
    ProviderStatus,
    SignalVerdict,
)
from computepool.model.reasons import Reason
from computepool.model.scheduling_gates import gate_words
from computepool.model.text import printable, rfc3339
from computepool.report.conditions import CONFIGURED, DEGRADED, READY, RESILIENT
from computepool.report.formatting import counted, span

WATCH_SECONDS: Final = 2.0
"""Between two reads of the cluster while it is watched."""
MIN_USE: Final = 9
"""Columns of the longest word about the use of a provider."""
_NOT_UPDATED: Final = (Reason.CACHE_STALE, Reason.ACCESS_MISSING, Reason.PASS_FAILED)
"""Reasons of the condition Ready with which the figures stay as they were."""
_BAD_WHEN = {
    READY: ConditionStatus.FALSE,
    DEGRADED: ConditionStatus.TRUE,
    RESILIENT: ConditionStatus.FALSE,
    CONFIGURED: ConditionStatus.FALSE,
}
_COMMAND: Final = re.compile(r"`(kubectl [^`]+)`")
"""A command in the message of a condition."""


class Request(msgspec.Struct, frozen=True):
    """What to show, and of which cluster."""

    kubeconfig: str | None
    context: str | None
    pool: str | None
    """The name of one pool; None: all."""
    lease: LeaseAddress
    output: Output


class Report(msgspec.Struct, frozen=True):
    """What one read of the cluster shows."""

    leader: Leader
    pools: list[ComputePool]

    def as_json(self) -> dict[str, Any]:
        """Return the report as programs read it: see docs/commands.md."""
        return {"leader": msgspec.to_builtins(self.leader), "pools": [self._pool_as_json(pool) for pool in self.pools]}

    def _pool_as_json(self, pool: ComputePool) -> dict[str, Any]:
        return {
            "name": pool.name,
            "mode": str(pool.spec.mode),
            "accelerator": pool.spec.accelerator.resource_name,
            "current": self.leader.is_well and not old_because(pool),
            "status": pool.status.to_object(),
        }


async def show(request: Request, console: Console, wall: Callable[[], float]) -> None:
    """Print all pools, or one; `wall`: seconds since the epoch. Raises NotFoundError where no pool has that name."""
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        watch = LeaderWatch(client, request.lease)
        report = await _read(client, request, watch)
    _print(report, request, console, wall(), watch.age(report.leader))


async def watch(request: Request, console: Console, *, every: float = WATCH_SECONDS) -> None:
    """Print again whenever the report has changed, until cancelled. On a terminal, each print replaces the last.

    The cluster is read again after `every` seconds. After the first read, errors that may pass are printed and the
    watch goes on.
    """
    async with ApiClient(await load_access(request.kubeconfig, request.context)) as client:
        leader, shown = LeaderWatch(client, request.lease), ""
        while True:
            try:
                report = await _read(client, request, leader)
            except ApiError as error:
                if not shown or not error.retryable:
                    raise
                text, print_now = str(error), partial(console.print, sentence(error, NEEDS_POOLS), style="red")
            else:
                # Ages are no change. On a terminal they are brought up to date all the same.
                text = _identity(report)
                print_now = partial(_print, report, request, console, time.time(), leader.age(report.leader))
            if console.is_terminal and request.output is Output.TABLE:
                console.clear()
                print_now()
            elif text != shown:
                print_now()
            shown = text
            await asyncio.sleep(every)


async def _read(client: ApiClient, request: Request, watch: LeaderWatch) -> Report:
    leader, pools = await asyncio.gather(watch.read(), load_pools(client))
    if request.pool is not None:
        pools = [pool for pool in pools if pool.name == request.pool]
        if not pools:
            raise NotFoundError(f"there is no ComputePool {request.pool!r}: see `kubectl get computepools`")
    return Report(leader, pools)


def _identity(report: Report) -> str:
    """Return all that is in a report but the time of the last renewal of a leader that goes on leading."""
    shown = report.as_json()
    if report.leader.leading is Leading.LEADS:
        del shown["leader"]["renewedAt"]
    return json.dumps(shown, sort_keys=True)


def _print(report: Report, request: Request, console: Console, now: float, age: float | None) -> None:
    if request.output is not Output.TABLE:
        print_data(report.as_json(), request.output, console)
        return
    console.print(Text(headline(report.leader, age), style="default" if report.leader.is_well else "red"))
    if not report.pools:
        console.print("There is no ComputePool in the cluster.")
    for pool in report.pools:
        console.print()
        show_pool(pool, console, now)


def old_because(pool: ComputePool) -> str:
    """Say since when, and why, the leader can't bring a pool's figures up to date; empty if it can."""
    ready = pool.status.condition(READY)
    if ready is not None and ready.reason in _NOT_UPDATED:
        since = rfc3339(ready.last_transition_time)
        return f"The figures are from {since} or before: the operator can't see or judge the pool ({ready.reason})."
    if pool.status.observed_generation < pool.metadata.generation:
        return "The spec has changed since; what follows is about the previous spec."
    return ""


def show_pool(pool: ComputePool, console: Console, now: float) -> None:
    """Print what the operator last reported of a pool."""
    status = pool.status
    console.print(Text.assemble((pool.name, "bold"), f"  {pool.spec.mode}  {pool.spec.accelerator.resource_name}"))
    if not status.conditions:
        _say(console, "Not looked at yet: is the operator running?")
        return
    if old := old_because(pool):
        _say(console, old)
    print_table(providers_table(pool), console, text=MIN_USE)
    for line in _drills(pool):
        _say(console, line)
    console.print()
    pending = status.pending
    cost = f" The pool costs {status.cost_per_hour} an hour." if status.cost_per_hour else ""
    wanted = counted(pending.accelerators, "accelerator")
    _say(console, f"{counted(pending.pods, 'pod')} waiting for {wanted}.{_gated(status)}{cost}")
    if status.admission.message:
        _say(console, f"Admission is closed. {status.admission.message}")
    console.print()
    print_table(conditions_table(pool), console)
    _show_commands(pool, console)
    if status.signals:
        console.print()
        print_table(signals_table(pool), console)
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
    """Return a pool's providers as a table: capacity in accelerators, the pool's pods, cost, and whether it is used.

    Where no accelerator can be used, it is not known how many are in use.
    """
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
            f"{counts.allocated}/{counts.allocatable}" if counts.allocatable else "-",
            str(counts.free),
            str(counts.unhealthy),
            str(provider.burst_pods),
            provider.cost_per_hour or "-",
            _use(provider, standstill, is_open=is_open, drained=_drained(provider, spec)),
            style=_row_style(provider),
        )
    return table


def _row_style(provider: ProviderStatus) -> str:
    """Return the colour of a provider's row: a drain is planned work, and no alarm."""
    if provider.breaker.state is BreakerState.CLOSED:
        return "default"
    return "yellow" if provider.breaker.reason == Reason.DRAINED else "red"


def _drained(provider: ProviderStatus, spec: ProviderSpec | None) -> str:
    """Say how a person takes the provider out of use; empty if nobody does."""
    if provider.drill is not None and not provider.drill.stopped:
        return "drill"
    return "drained" if spec is not None and spec.drain else ""


def _drills(pool: ComputePool) -> Iterable[str]:
    """Say which drills the operator has taken up."""
    for provider in pool.status.providers:
        spec, taken_up = pool.spec.provider(provider.name), provider.drill
        if spec is None or spec.drill is None or taken_up is None:
            continue
        by = f" by {printable(spec.drill.by)}" if spec.drill.by else ""
        if taken_up.stopped:
            yield f"The drill of {provider.name}{by} was stopped: {printable(taken_up.stopped)}."
        else:
            yield f"A drill of {provider.name}{by} lasts until {rfc3339(spec.drill.until)} at the latest."


def _use(provider: ProviderStatus, standstill: str, *, is_open: bool, drained: str) -> str:
    """Say in a few words whether new pods go there, by its breaker and by the last decision about admission."""
    match provider.breaker.state:
        case BreakerState.OPEN:
            text = (drained or "drain ended") if provider.breaker.reason == Reason.DRAINED else "failed"
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
        _say(console, "To mend the configuration, if the spec says what you mean:")
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


def _gated(status: PoolStatus) -> str:
    """Name the scheduling gates that hold pods back, and the programs that they belong to."""
    if not status.pending.gated:
        return ""
    gates = ", ".join(f"{gate.pods} by {gate_words(gate.name)}" for gate in status.scheduling_gates)
    return f" {counted(status.pending.gated, 'pod')} held back by scheduling gates{': ' if gates else ''}{gates}."


def _spent(pool: ComputePool, budget: BudgetStatus) -> str:
    spec = pool.spec.budget
    limit = f" of {spec.per_day}" if spec is not None and spec.per_day else ""
    return f"Spent on standbys on {budget.day} (UTC): {Decimal(budget.spent):.2f}{limit}."


def _say(console: Console, text: str) -> None:
    console.print(Padding(text, (0, 1), expand=False))
