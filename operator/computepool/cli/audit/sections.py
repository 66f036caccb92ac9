"""Makes a document of an audit: the same sections, in the same order, for a terminal, Markdown and HTML."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from computepool.audit.auditing import Audit
from computepool.audit.demand import Workload
from computepool.audit.gaps import StrandedWorkload
from computepool.audit.parts import PartKind
from computepool.audit.pins import STRANDING, Pin
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import SupplyRow, summed_up
from computepool.cli.audit import wording
from computepool.cli.audit.document import NONE, UNKNOWN, Column, Document, Form, Row, Section, Table, table_of
from computepool.cli.audit.money import money_sections
from computepool.cli.audit.wording import NAMED, amount
from computepool.report.formatting import listed

MOST_LOSSES: Final = 12
"""How many losses a full document tells in detail."""
NAMED_STRANDED: Final = 20
"""How many workloads with the same cause a full document names."""
NO_PIN: Final = "no pin"
_BAD: Final = "Bad accelerators: no pod can begin to use them now. Pods that hold some count as used as well."
_PLACES: Final[dict[str, Callable[[SupplyRow], str]]] = {
    "Region": lambda row: row.region,
    "Zone": lambda row: row.zone,
    "Group": lambda row: row.node_group,
    "Type": lambda row: row.capacity_type,
}
_AMOUNTS: Final[dict[str, Callable[[SupplyRow], int]]] = {
    "Has": lambda row: row.capacity,
    "Used": lambda row: row.used,
    "Free": lambda row: row.free,
    "Bad": lambda row: row.unhealthy,
}


def document(found: Audit, form: Form) -> Document:
    """Return what an audit tells people. `form`: how much room there is."""
    return Document(
        verdict=tuple(wording.verdict(found)),
        origin=wording.origin(found.cluster),
        checks=found.checks,
        sections=tuple(section for section in _sections(found, form) if section is not None),
    )


def lost_wholes(found: Audit) -> Sequence[JudgedLoss]:
    """Return the losses that a full document tells in detail: of each provider, or what was asked for."""
    providers = [loss for loss in found.losses if all(part.kind is PartKind.PROVIDER for part in loss.parts)]
    return (providers or found.losses[:1])[:MOST_LOSSES]


def _sections(found: Audit, form: Form) -> Iterable[Section | None]:
    yield _supply(found, form)
    yield _workloads(found, form)
    if form.full:
        yield _pins(found)
    yield _losses(found, form)
    for loss in lost_wholes(found) if form.full else found.losses[:1]:
        yield _stranded(loss, form)
    yield from money_sections(found, form)
    yield _cluster(found, form)
    if form.full:
        yield Section("How losses are judged", before=wording.METHOD)


def _supply(found: Audit, form: Form) -> Section:
    title = "Supply"
    if not found.supply:
        return Section(title, before=("No node has accelerators.",))
    # A terminal has no room for the zone.
    places = {heading: read for heading, read in _PLACES.items() if form.full or heading != "Zone"}
    if len(found.resources) > 1:
        places["Resource"] = lambda row: row.resource
    columns = [Column("Provider"), *map(Column, places), Column("Nodes", number=True)]
    columns += [Column(heading, number=True) for heading in _AMOUNTS]
    rows = [
        Row(
            (
                row.provider,
                *(read(row) or UNKNOWN for read in places.values()),
                str(row.nodes),
                *(amount(read(row)) for read in _AMOUNTS.values()),
                row.model or UNKNOWN,
            )
        )
        for row in _sorted_supply(found.supply, tuple(places.values()))
    ]
    unknown = [heading.lower() for heading, read in places.items() if not any(map(read, found.supply))]
    return Section(
        title,
        table=table_of((*columns, Column("Model")), rows, form),
        after=(
            wording.concentration(found),
            *wording.providers(found),
            *((_BAD,) if any(row.unhealthy for row in found.supply) else ()),
            *((f"No label tells these of any node: {', '.join(unknown)}.",) if unknown else ()),
        ),
    )


def _sorted_supply(rows: Iterable[SupplyRow], places: Sequence[Callable[[SupplyRow], str]]) -> list[SupplyRow]:
    """Return one row for each place and model that the reader can tell apart.

    The largest provider comes first, then its largest place. Rows that differ in their model alone are neighbours.
    """
    known = tuple(rows)

    def place(row: SupplyRow) -> tuple[str, ...]:
        return (row.provider, *(read(row) for read in places))

    merged: dict[tuple[str, ...], SupplyRow] = {}
    sizes: dict[tuple[str, ...], int] = {}
    for row in known:
        key = (*place(row), row.model)
        merged[key] = merged[key].plus(row) if key in merged else row
        sizes[place(row)] = sizes.get(place(row), 0) + row.capacity
    providers = summed_up(known, lambda row: row.provider)
    return sorted(
        merged.values(),
        key=lambda row: (
            -providers[row.provider].capacity,
            row.provider,
            -sizes[place(row)],
            place(row),
            -row.capacity,
            row.model,
        ),
    )


def _workloads(found: Audit, form: Form) -> Section:
    title = "Workloads"
    if not found.workloads:
        return Section(title, before=("No pod requests an accelerator.",))
    headings = [Column("Workload"), *(Column(name, number=True) for name in ("Pods", "Waiting", "Has"))]
    if form.full:
        headings += [Column("Priority", number=True), Column("Gang"), Column("Evictions allowed")]
    rows = [
        Row(
            (
                str(workload.name),
                str(workload.pods),
                str(workload.waiting_pods or NONE),
                amount(workload.accelerators),
                *(_details(workload) if form.full else ()),
                wording.places(workload.providers) or NONE,
                _pinned(workload),
            )
        )
        for workload in found.workloads
    ]
    return Section(title, table=table_of((*headings, Column("Where"), Column("What pins it")), rows, form))


def _details(workload: Workload) -> tuple[str, str, str]:
    budgets = listed([f"{allowed} by {name}" for name, allowed in workload.budgets.items()], NAMED)
    return str(workload.priority), "yes" if workload.gang else NONE, budgets or NONE


def _pinned(workload: Workload) -> str:
    pins = ", ".join(map(str, workload.pins)) or NO_PIN
    return f"{pins} ({listed(workload.pinned_by, NAMED)})" if workload.pinned_by else pins


def _pins(found: Audit) -> Section | None:
    """Explain the pins that were found."""
    pinned = {pin: [workload for workload in found.workloads if pin in workload.pins] for pin in Pin}
    rows = [
        Row(
            (
                str(pin),
                str(len(workloads)),
                amount(sum(workload.accelerators for workload in workloads)),
                "nowhere else to go" if pin in STRANDING else "slow or costly to move",
                pin.help,
            )
        )
        for pin, workloads in pinned.items()
        if workloads
    ]
    if not rows:
        return None
    columns = (
        Column("Pin"),
        Column("Workloads", number=True),
        Column("Have", number=True),
        Column("Effect"),
        Column("What it means, and what would loosen it"),
    )
    return Section("What the pins mean", table=Table(columns, tuple(rows)))


def _losses(found: Audit, form: Form) -> Section | None:
    if not found.losses:
        return None
    amounts = ("Has", "Held", "Placed", "Stranded")
    columns = (
        Column("Lost"),
        *(Column(heading, number=True) for heading in amounts),
        Column("Where it goes, and the least that closes the gap"),
    )
    notes = wording.repeated_remedies(found.losses[: form.most_rows])
    rows = [
        Row(
            (
                loss.what,
                *map(amount, (loss.capacity, loss.held, loss.placed, loss.stranded)),
                wording.sentences((wording.goes_to(loss), wording.least(loss, notes))) or NONE,
            ),
            alarming=bool(loss.stranded),
        )
        for loss in found.losses
    ]
    return Section(
        "If it is lost now",
        table=table_of(columns, rows, form),
        after=tuple(f"Note {index}: {text}" for text, index in notes.items()),
    )


def _stranded(loss: JudgedLoss, form: Form) -> Section | None:
    """Tell what is stranded; workloads with the same cause share a row."""
    if not loss.stranded:
        return None
    lost = wording.lost_providers(loss)
    by_cause: dict[tuple[str, ...], list[StrandedWorkload]] = {}
    for workload in loss.workloads:
        by_cause.setdefault((wording.why_stranded(workload, lost), *workload.helps), []).append(workload)
    groups = sorted(by_cause.items(), key=lambda group: -sum(workload.accelerators for workload in group[1]))
    rows = [
        Row(
            (
                listed([str(workload.name) for workload in workloads], NAMED_STRANDED if form.full else 1),
                str(sum(workload.pods for workload in workloads)),
                amount(sum(workload.accelerators for workload in workloads)),
                wording.sentences(cause),
            )
        )
        for cause, workloads in groups
    ]
    columns = (
        Column("Workload"),
        Column("Pods", number=True),
        Column("Needs", number=True),
        Column("Why, and what would help"),
    )
    return Section(
        f"Stranded if {loss.what} is lost", table=table_of(columns, rows, form), after=(wording.short_by_model(loss),)
    )


def _cluster(found: Audit, form: Form) -> Section:
    cluster = found.cluster
    return Section(
        "Cluster",
        # A full document begins with its origin.
        before=() if form.full else (wording.origin(cluster),),
        after=(*wording.abilities(cluster), *wording.not_read(cluster)),
    )
