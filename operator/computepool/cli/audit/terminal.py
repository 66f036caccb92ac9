"""What an audit found, on a terminal: the verdict first, then what it rests on."""

from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console
from rich.text import Text

from computepool.audit.auditing import Audit
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import Concentration, SupplyRow, summed_up
from computepool.cli.audit.data import number
from computepool.cli.console import make_table, print_table
from computepool.report.formatting import counted, listed

MOST_ROWS: Final = 15
"""Rows of a table. All of them are in --output json and csv."""
NAMED: Final = 3
UNKNOWN: Final = "not told"


def print_audit(found: Audit, console: Console) -> None:
    """Print an audit."""
    for line in verdict(found):
        console.print(Text(line, style="bold"))
    _print_checks(found, console)
    _print_supply(found, console)
    _print_workloads(found, console)
    _print_losses(found.losses, console)
    _print_cluster(found, console)


def verdict(found: Audit) -> Iterable[str]:
    """Yield the sentences that a reader takes away."""
    loss = found.worst
    if loss is None:
        yield "No node of this cluster has accelerators, so nothing depends on a provider."
        return
    if not loss.held:
        yield f"If {_failing(loss)} now, nothing is lost: no pod holds an accelerator there."
        return
    yield (
        f"If {_failing(loss)} now: {number(loss.placed)} of {_accelerators(loss.held)} have somewhere to go; "
        f"{_rest(loss)}"
    )
    if loss.on_demand:
        made = ", ".join(f"{number(amount)} at {name}" for name, amount in loss.on_demand.items())
        yield f"Of these, {made} need nodes that the provider has yet to make."
    if loss.awaits_deletion:
        yield (
            f"Of these, {number(loss.awaits_deletion)} come back only once the lost nodes are deleted, because their "
            "pods keep their names."
        )


def _failing(loss: JudgedLoss) -> str:
    return f"{loss.what} {'fails' if len(loss.parts) == 1 else 'fail'}"


def _rest(loss: JudgedLoss) -> str:
    if not loss.stranded:
        return "none is stranded."
    verb = "does" if number(loss.stranded) == 1 else "do"
    return f"{number(loss.stranded)} {verb} not, of {counted(len(loss.workloads), 'workload')}."


def _accelerators(milli: int) -> str:
    amount = number(milli)
    return f"{amount} accelerator" if amount == 1 else f"{amount} accelerators"


def _print_checks(found: Audit, console: Console) -> None:
    table = make_table("Check", "", "What was found, and what mends it")
    for check in found.checks:
        told = check.message if check.passed else f"{check.message} {check.remedy}".strip()
        table.add_row(
            str(check.name), "ok" if check.passed else "FAILED", told, style="green" if check.passed else "red"
        )
    console.print()
    print_table(table, console)


def _print_supply(found: Audit, console: Console) -> None:
    _heading("Supply", console)
    table = make_table("Provider", "Region", "Group", "Type", "Nodes", "Has", "Used", "Free", "Bad", "Model")
    for row in found.supply[:MOST_ROWS]:
        table.add_row(row.provider, *_place(row), str(row.nodes), *_amounts(row), row.model or UNKNOWN)
    print_table(table, console)
    _more(len(found.supply), console)
    totals = summed_up(found.supply, lambda row: row.provider)
    told = [f"{name} {number(row.used)} of {number(row.capacity)} used" for name, row in totals.items()]
    console.print(f"By provider: {'; '.join(told) or 'nothing'}.")
    shares = [
        _share("the largest provider", found.largest_provider),
        _share("the largest region", found.largest_region),
    ]
    if found.spot is not None:
        shares.append(f"{found.spot.share:.0%} is spot")
    console.print(f"Concentration: {'; '.join(filter(None, shares)) or 'not known'}.")
    for provider in found.providers:
        console.print(f"{provider.name}: {counted(len(provider.nodes), 'node')}, found by {provider.evidence}.")


def _place(row: SupplyRow) -> tuple[str, str, str]:
    return row.region or UNKNOWN, row.node_group or UNKNOWN, row.capacity_type or UNKNOWN


def _amounts(row: SupplyRow) -> tuple[str, ...]:
    return tuple(str(number(amount)) for amount in (row.capacity, row.used, row.free, row.unhealthy))


def _share(what: str, found: Concentration | None) -> str:
    return "" if found is None else f"{what}, {found.name}, has {found.share:.0%}"


def _print_workloads(found: Audit, console: Console) -> None:
    _heading("Workloads", console)
    table = make_table("Workload", "Pods", "Waiting", "Has", "Where", "What pins it")
    for workload in found.workloads[:MOST_ROWS]:
        pins = ", ".join(map(str, workload.pins)) or "nothing"
        if workload.pinned_by:
            pins += f" ({listed(workload.pinned_by, NAMED)})"
        waiting = str(workload.waiting_pods or "-")
        where = _places(workload.providers) or "-"
        table.add_row(str(workload.name), str(workload.pods), waiting, str(number(workload.accelerators)), where, pins)
    print_table(table, console)
    _more(len(found.workloads), console)


def _places(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or UNKNOWN} {number(amount)}" for name, amount in amounts.items())


def _print_losses(losses: Iterable[JudgedLoss], console: Console) -> None:
    told = tuple(losses)
    _heading("If it is lost now", console)
    table = make_table("Lost", "Has", "Held", "Placed", "Stranded", "Where it goes, and the least that closes the gap")
    for loss in told[:MOST_ROWS]:
        goes = _places(loss.moves)
        least = listed([remedy.text for remedy in loss.remedies], NAMED)
        amounts = [str(number(amount)) for amount in (loss.capacity, loss.held, loss.placed, loss.stranded)]
        told_of = ". ".join(filter(None, (goes, least)))
        table.add_row(loss.what, *amounts, told_of or "-", style="red" if loss.stranded else "default")
    print_table(table, console)
    _more(len(told), console)
    for loss in told[:1]:
        _print_stranded(loss, console)


def _print_stranded(loss: JudgedLoss, console: Console) -> None:
    if not loss.stranded:
        return
    _heading(f"Stranded if {loss.what} is lost", console)
    table = make_table("Workload", "Pods", "Needs", "Why, and what would help")
    for workload in loss.workloads[:MOST_ROWS]:
        rejected = ", ".join(f"{name}: {why}" for name, why in workload.rejected.items())
        reasons = rejected or ", ".join(workload.reasons)
        why = f"{reasons}. {' '.join(workload.helps)}".strip()
        table.add_row(str(workload.name), str(workload.pods), str(number(workload.accelerators)), why)
    print_table(table, console)
    _more(len(loss.workloads), console)
    short = ", ".join(f"{number(amount)} of {name or UNKNOWN}" for name, amount in loss.short.items())
    console.print(f"Short: {short}.")


def _print_cluster(found: Audit, console: Console) -> None:
    _heading("Cluster", console)
    facilities = found.cluster.facilities
    console.print(f"Read from {found.cluster.source}. Kubernetes {facilities.version or UNKNOWN}.")
    if facilities.apis is None:
        console.print("The served APIs were not read, so it is not known what the cluster can do.")
    else:
        for sentence in abilities(facilities.apis):
            console.print(sentence)
    if facilities.autoscalers:
        console.print(f"Found: {', '.join(facilities.autoscalers)}.")


def abilities(apis: Iterable[str]) -> Iterable[str]:
    """Yield what the served APIs let ComputePool do."""
    served = frozenset(apis)
    groups = {api.partition("/")[0] for api in served}
    if "admissionregistration.k8s.io/v1" in served:
        yield "Pods can be sent on as they are created, if MutatingAdmissionPolicy is served (from 1.36 by default)."
    if "scheduling.k8s.io/v1beta1" in served:
        yield "PodGroups are served: the scheduler can start gangs as a whole."
    if "resource.k8s.io" in groups:
        yield "Dynamic resource allocation (DRA) is served: accelerators in resource claims are not counted here."
    if "computepool.io" in groups:
        yield "ComputePools are served: losses are judged by the pools that there are, other pods by a pool over all."
    else:
        yield "ComputePools are not installed: losses are judged as with one pool over all providers."


def _heading(text: str, console: Console) -> None:
    console.print()
    console.print(Text(text, style="bold underline"))


def _more(count: int, console: Console) -> None:
    if count > MOST_ROWS:
        console.print(f"And {count - MOST_ROWS} more: see --output json.")
