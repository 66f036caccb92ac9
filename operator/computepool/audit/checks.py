"""The short list of an audit: what passes, what fails, and what mends it."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from computepool.audit.accelerators import accelerators, units
from computepool.audit.activity import Measures
from computepool.audit.cluster import NOT_SAVED, Cluster
from computepool.audit.demand import Workload
from computepool.audit.node_labels import SPOT
from computepool.audit.parts import PartKind
from computepool.audit.pins import Pin
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import Concentration, SupplyRow, summed_up
from computepool.audit.waste import Waste
from computepool.model.quantity import MILLI
from computepool.report.formatting import counted, full_stop, listed, span

LARGEST_SHARE: Final = 0.8
"""With more of all accelerators at one provider, the others can't take what it loses."""
NAMED: Final = 3


class CheckName(StrEnum):
    """What is checked."""

    SECOND_PROVIDER = "SecondProvider"
    PROVIDER_LOSS = "ProviderLoss"
    REGION_LOSS = "RegionLoss"
    SPOT_LOSS = "SpotLoss"
    CONCENTRATION = "Concentration"
    HEALTHY_NODES = "HealthyNodes"
    NOBODY_WAITS = "NobodyWaits"
    IDLE_ACCELERATORS = "IdleAccelerators"
    CONTROLLERS = "Controllers"
    EVICTIONS_ALLOWED = "EvictionsAllowed"
    KEPT_NAMES = "KeptNames"
    ALL_READ = "AllRead"
    METRICS_READ = "MetricsRead"


class Check(msgspec.Struct, frozen=True):
    """One check."""

    name: CheckName
    passed: bool
    message: str
    remedy: str = ""
    """What mends it; empty where it passed."""


def checks_of(
    cluster: Cluster,
    rows: Sequence[SupplyRow],
    found: Sequence[Workload],
    losses: Sequence[JudgedLoss],
    largest_provider: Concentration | None,
    waste: Waste | None = None,
    measures: Measures | None = None,
) -> tuple[Check, ...]:
    """Return all checks that have a meaning for this cluster, in the order of reports."""
    made = [
        _second_provider(rows),
        *_loss_checks(losses),
        _concentration(largest_provider),
        _healthy(rows),
        _waiting(found),
        _idle(waste, found, losses),
        _controllers(found),
        _evictions(found),
        _names(found),
        _all_read(cluster),
        _metrics_read(waste, measures),
    ]
    return tuple(check for check in made if check is not None)


def _second_provider(rows: Sequence[SupplyRow]) -> Check:
    names = sorted(summed_up(rows, lambda row: row.provider))
    if len(names) > 1:
        return Check(
            CheckName.SECOND_PROVIDER, True, f"Accelerators at {len(names)} providers: {listed(names, NAMED)}."
        )
    where = f"only at {names[0]}" if names else "nowhere"
    return Check(
        CheckName.SECOND_PROVIDER,
        False,
        f"Accelerators are {where}: if it fails, nothing is left.",
        "Join nodes of a second provider. If there are two already and they look like one, name them: "
        "--provider NAME=LABEL=VALUE.",
    )


def _loss_checks(losses: Sequence[JudgedLoss]) -> Iterable[Check]:
    for kind, name in ((PartKind.PROVIDER, CheckName.PROVIDER_LOSS), (PartKind.REGION, CheckName.REGION_LOSS)):
        of_kind = [loss for loss in losses if len(loss.parts) == 1 and loss.parts[0].kind is kind]
        if of_kind:
            yield _loss_check(name, of_kind, f"any {kind} strands nothing, one at a time")
    spot = [loss for loss in losses if [str(part) for part in loss.parts] == [f"{PartKind.CAPACITY_TYPE}={SPOT}"]]
    if spot:
        yield _loss_check(CheckName.SPOT_LOSS, spot, "all spot nodes strands nothing")


def _loss_check(name: CheckName, losses: Sequence[JudgedLoss], well: str) -> Check:
    worst = max(losses, key=lambda loss: loss.stranded)
    if not worst.stranded:
        return Check(name, True, f"The loss of {well}.")
    what = ", ".join(map(str, worst.parts))
    stranded = listed([str(workload.name) for workload in worst.workloads], NAMED)
    message = f"The loss of {what} strands {accelerators(worst.stranded)} of {units(worst.held)}. Stranded: {stranded}."
    return Check(name, False, message, worst.remedies[0].text if worst.remedies else "")


def _concentration(largest: Concentration | None) -> Check | None:
    if largest is None:
        return None
    message = f"{largest.name} has {largest.share:.0%} of all accelerators."
    if largest.share <= LARGEST_SHARE:
        return Check(CheckName.CONCENTRATION, True, message)
    return Check(CheckName.CONCENTRATION, False, message, f"Have at least {1 - LARGEST_SHARE:.0%} elsewhere.")


def _healthy(rows: Sequence[SupplyRow]) -> Check | None:
    bad = {name: row for name, row in summed_up(rows, lambda row: row.provider).items() if row.unhealthy}
    if not rows:
        return None
    if not bad:
        return Check(CheckName.HEALTHY_NODES, True, "All accelerators are on nodes that are ready.")
    told = listed([f"{units(row.unhealthy)} of {units(row.capacity)} at {name}" for name, row in bad.items()], NAMED)
    return Check(
        CheckName.HEALTHY_NODES,
        False,
        f"Accelerators that no pod can use now: {told}.",
        "kubectl get nodes shows nodes that are NotReady or cordoned; otherwise the device plugin reports fewer "
        "devices than the node has.",
    )


def _waiting(found: Sequence[Workload]) -> Check:
    waiting = [workload for workload in found if workload.waiting_pods]
    if not waiting:
        return Check(CheckName.NOBODY_WAITS, True, "No pod waits for an accelerator.")
    amount = sum(workload.waiting_accelerators for workload in waiting)
    return Check(
        CheckName.NOBODY_WAITS,
        False,
        f"{counted(sum(workload.waiting_pods for workload in waiting), 'pod')} of {_named(waiting)} wait for "
        f"{accelerators(amount)}.",
        "With a ComputePool they burst onto the next provider that has room.",
    )


def _idle(waste: Waste | None, found: Sequence[Workload], losses: Sequence[JudgedLoss]) -> Check | None:
    """Compare what is idle with what is missing: now, or after a loss."""
    if waste is None or not waste.uses.known:
        return None
    uses = waste.uses
    verb = "was" if uses.idle == MILLI else "were"
    message = f"{accelerators(uses.idle)} that pods hold {verb} idle for {span(waste.window)}"
    if uses.unknown:
        message += f", and of {uses.unknown / MILLI:g} this is not known"
    waiting = sum(workload.waiting_accelerators for workload in found)
    worst = max(losses, key=lambda loss: loss.stranded, default=None)
    missing = [f"pods wait for {waiting / MILLI:g}"] if waiting else []
    if worst is not None and worst.stranded:
        missing.append(f"the loss of {worst.what} strands {worst.stranded / MILLI:g}")
    if not uses.idle or not missing:
        return Check(CheckName.IDLE_ACCELERATORS, True, f"{message}.")
    owners = listed([str(one.name) for one in waste.workloads if one.uses.idle], NAMED)
    remedy = f"Before buying more, scale down workloads that hold idle accelerators: {owners}."
    return Check(CheckName.IDLE_ACCELERATORS, False, f"{message}; {' and '.join(missing)}.", remedy)


def _controllers(found: Sequence[Workload]) -> Check | None:
    bare = [workload for workload in found if Pin.NO_CONTROLLER in workload.pins]
    return _pinned(
        CheckName.CONTROLLERS, bare, Pin.NO_CONTROLLER, "Every pod has a controller that replaces it.", found
    )


def _evictions(found: Sequence[Workload]) -> Check | None:
    refused = [workload for workload in found if Pin.NO_DISRUPTION_ALLOWED in workload.pins]
    well = "No disruption budget refuses evictions now."
    return _pinned(CheckName.EVICTIONS_ALLOWED, refused, Pin.NO_DISRUPTION_ALLOWED, well, found)


def _names(found: Sequence[Workload]) -> Check | None:
    kept = [workload for workload in found if Pin.KEEPS_NAME in workload.pins]
    well = "No pod keeps its name, so each is replaced at once."
    return _pinned(CheckName.KEPT_NAMES, kept, Pin.KEEPS_NAME, well, found)


def _pinned(
    name: CheckName, pinned: Sequence[Workload], pin: Pin, well: str, found: Sequence[Workload]
) -> Check | None:
    if not found:
        return None
    if not pinned:
        return Check(name, True, well)
    held = sum(workload.accelerators for workload in pinned)
    return Check(name, False, f"{pin}: {_named(pinned)}, with {accelerators(held)}.", pin.help)


def _named(found: Sequence[Workload]) -> str:
    return listed([str(workload.name) for workload in found], NAMED)


def _all_read(cluster: Cluster) -> Check:
    if not cluster.missing and not cluster.unreadable:
        return Check(CheckName.ALL_READ, True, "All objects could be read.")
    told = [f"{kind}: {why}" for kind, why in sorted(cluster.missing.items())]
    told += list(cluster.unreadable[:NAMED])
    mends = ["What is not read is not counted."]
    if cluster.missing:
        kinds = ", ".join(sorted(cluster.missing))
        saved = all(why == NOT_SAVED for why in cluster.missing.values())
        mends.append(
            f"Save these kinds too, with kubectl get --all-namespaces --output json: {kinds}."
            if saved
            else f"Give the account the rights to get and list these kinds: {kinds}."
        )
    if cluster.unreadable:
        mends.append("Compare the objects that can't be read with what kubectl get --output json prints.")
    return Check(CheckName.ALL_READ, False, f"Not read: {'; '.join(told)}.", " ".join(mends))


def _metrics_read(waste: Waste | None, measures: Measures | None) -> Check | None:
    if measures is None:
        return None
    problems = [full_stop(text) for text in (measures.problem, measures.no_prices) if text]
    if problems:
        told = f"Metrics were not read: {' '.join(dict.fromkeys(problems))}"
        remedy = "Check the address that --prometheus gives. All other parts of the audit are complete."
        return Check(CheckName.METRICS_READ, False, told, remedy)
    if waste is None or not waste.uses.held:
        return Check(CheckName.METRICS_READ, True, "The server has answered. No pod holds an accelerator.")
    uses = waste.uses
    if uses.known:
        message = f"Of {accelerators(uses.held)} that pods hold, activity is known for {uses.known / MILLI:g}."
        return Check(CheckName.METRICS_READ, True, message)
    return Check(CheckName.METRICS_READ, False, *_unknown_because(measures))


def _unknown_because(measures: Measures) -> tuple[str, str]:
    """Say why no activity is known, and what helps."""
    if not measures.series:
        return (
            "The server has no metrics of NVIDIA's dcgm-exporter or AMD's device-metrics-exporter.",
            "Let it scrape the exporter on each node with accelerators.",
        )
    return (
        f"The server has {measures.series} series of devices, and none names a pod that has run for "
        f"{span(measures.window)}.",
        "Let the exporter tell the pod of each device (DCGM_EXPORTER_KUBERNETES=true), or give a shorter --window.",
    )
