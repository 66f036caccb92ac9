"""The sections about what accelerators cost and what they do."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from computepool.audit.accelerators import units
from computepool.audit.auditing import Audit
from computepool.audit.costs import Costs
from computepool.audit.waste import ProviderWaste, Waste
from computepool.cli.audit.document import Column, Form, Row, Section, table_of
from computepool.model.quantity import MILLI
from computepool.report.formatting import listed, span

NAMED: Final = 3


def money_sections(found: Audit, form: Form) -> Iterable[Section]:
    """Yield sections about costs and waste, as far as any is known. Prices that match nothing are told as well."""
    if found.costs.known or found.costs.given:
        yield _costs(found.costs, form)
    if found.costs.known:
        yield _costs_of_workloads(found.costs, form)
    if found.waste is not None:
        yield _waste(found.waste, form, priced=found.costs.known)


def _costs(found: Costs, form: Form) -> Section:
    columns = (Column("Provider"), *(Column(name, number=True) for name in ("Has", "Cost/h", "Used/h", "Unused/h")))
    rows = [
        Row(
            (
                provider.provider,
                str(units(provider.accelerators)),
                *(
                    _cost(amount, provider.accelerators, provider.unpriced)
                    for amount in (provider.per_hour, provider.used_per_hour, provider.unused_per_hour)
                ),
                ", ".join(provider.sources) or "nowhere",
            )
        )
        for provider in found.providers
    ]
    total = f"All accelerators cost {_rounded(found.per_hour)} an hour{_without(found.unpriced)}."
    return Section(
        "Cost",
        before=(total if found.known else "The price of no accelerator is known.",),
        table=table_of((*columns, Column("Price from")), rows, form) if rows else None,
        after=tuple(_useless(found)),
    )


def _useless(found: Costs) -> Iterable[str]:
    """Yield the given prices that have no effect: often a name is misspelled."""
    if found.strangers:
        yield f"--prices names providers without a node: {listed(found.strangers, NAMED)}."
    if found.unmatched:
        yield f"--prices has prices that match no accelerator: {listed(found.unmatched, NAMED)}."


def _costs_of_workloads(found: Costs, form: Form) -> Section:
    columns = (Column("Workload"), Column("Holds", number=True), Column("Cost/h", number=True))
    rows = [
        Row(
            (
                str(workload.name),
                str(units(workload.accelerators)),
                _cost(workload.per_hour, workload.accelerators, workload.unpriced),
            )
        )
        for workload in found.workloads
    ]
    return Section("Cost by workload", table=table_of(columns, rows, form))


def _waste(found: Waste, form: Form, *, priced: bool) -> Section:
    uses = found.uses
    said = (
        f"Of {units(uses.held)} accelerators that pods hold, in the last {span(found.window)}: busy "
        f"{units(uses.busy)}, memory held without activity {units(uses.holds_memory)}, idle {units(uses.idle)}, "
        f"not known {units(uses.unknown)}."
    )
    names = ("Holds", "Busy", "Memory", "Idle", "Unknown", *(("Idle cost/h",) if priced else ()))
    columns = (Column("Workload"), *(Column(name, number=True) for name in names))
    rows = [
        Row(
            (
                str(workload.name),
                *(str(units(each)) for each in (own.held, own.busy, own.holds_memory, own.idle, own.unknown)),
                *([_cost(own.idle_per_hour, own.idle, own.idle_unpriced)] if priced else []),
            )
        )
        for workload in found.workloads
        if (own := workload.uses).idle or own.holds_memory
    ]
    table = table_of(columns, rows, form) if rows else None
    return Section("Waste", before=(said, *give_back(found.providers)), table=table)


def give_back(providers: Iterable[ProviderWaste]) -> Iterable[str]:
    """Yield what could be given back before more is bought, a sentence for each provider."""
    for provider in providers:
        if not provider.back:
            continue
        price = _cost(provider.back_per_hour, provider.back, provider.back_unpriced)
        worth = f", at {price} an hour" if provider.back_unpriced < provider.back else ""
        verb = "is" if provider.back == MILLI else "are"
        whole = f" Nodes that can be given back whole: {provider.empty_nodes}." if provider.empty_nodes else ""
        yield (
            f"Before buying more: {units(provider.back)} of {provider.provider} {verb} not used "
            f"({units(provider.uses.idle)} idle, {units(provider.free)} free){worth}.{whole}"
        )


def _rounded(amount: Decimal) -> str:
    return f"{amount:.2f}"


def _cost(amount: Decimal, accelerators: int, unpriced: int) -> str:
    if accelerators and unpriced >= accelerators:
        return "not known"
    return _rounded(amount) + (f" ({units(unpriced)} unpriced)" if unpriced else "")


def _without(unpriced: int) -> str:
    return f", without {units(unpriced)} whose price is not known" if unpriced else ""
