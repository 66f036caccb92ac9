"""The sentences of an audit. Amounts are in thousandths of an accelerator."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from computepool.audit.accelerators import accelerators, units
from computepool.audit.auditing import Audit
from computepool.audit.cluster import Cluster
from computepool.audit.gaps import StrandedWorkload
from computepool.audit.parts import PartKind
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import Concentration, summed_up
from computepool.cli.audit.document import UNKNOWN
from computepool.model.api import ConditionStatus
from computepool.model.reasons import Reason
from computepool.model.text import printable
from computepool.report.conditions import READY
from computepool.report.formatting import counted, full_stop, listed, moment

NAMED: Final = 3
"""How many names or remedies a sentence lists."""
LONG: Final = 80
"""Characters of a remedy that is not written twice."""
MOST_PROVIDERS: Final = 10
"""How many providers are listed after the supply."""
_OF_PODS: Final = (Reason.NOT_MOVABLE, Reason.MAY_NOT_FOLLOW, Reason.FROZEN)
"""Reasons of pods for which no provider was asked."""


def amount(milli: int) -> str:
    """Write an amount of accelerators as a number."""
    return str(units(milli))


def places(amounts: Mapping[str, int]) -> str:
    """Write amounts with their names, such as `nebius 23, self-managed 7`."""
    return ", ".join(f"{name or UNKNOWN} {amount(milli)}" for name, milli in amounts.items())


def sentences(texts: Iterable[str]) -> str:
    """Put sentences behind each other, each with its end; empty ones are left out."""
    return " ".join(full_stop(text) for text in texts if text)


def title(found: Audit) -> str:
    """Return the title of a document."""
    return f"Compute dependency audit of {found.cluster.source}" if found.cluster.source else "Compute dependency audit"


def origin(cluster: Cluster) -> str:
    """Say when the cluster was read, from where, and which version of Kubernetes it runs."""
    source = f" from {cluster.source}" if cluster.source else ""
    version = cluster.facilities.version
    return (
        f"Read on {moment(cluster.now):%Y-%m-%d at %H:%M} UTC{source}. "
        f"{f'Kubernetes {version}.' if version else 'The version of Kubernetes is not told.'}"
    )


def verdict(found: Audit) -> Iterable[str]:
    """Yield the sentences that a reader takes away, the most important first."""
    loss = found.worst
    if loss is None:
        if found.cluster.unreadable:
            yield "No node that could be read has accelerators, and some objects could not be read: nothing is known."
        else:
            yield "No node of this cluster has accelerators, so nothing depends on a provider."
        return
    fails = f"If {loss.what} {'fails' if len(loss.parts) == 1 else 'fail'} now"
    if not loss.held:
        yield f"{fails}, {_nothing_lost(loss)}"
        yield from not_judged(loss)
        return
    verb = "has" if units(loss.placed) == 1 else "have"
    yield (f"{fails}: {amount(loss.placed)} of {accelerators(loss.held)} {verb} somewhere to go; {_rest(loss)}")
    if loss.on_demand:
        made = listed([f"{amount(milli)} at {name}" for name, milli in loss.on_demand.items()], NAMED)
        yield f"Of these, {made} need nodes that the provider has yet to make."
    if loss.awaits_deletion:
        yield f"Of these, {amount(loss.awaits_deletion)} {_once_deleted(loss.awaits_deletion)}"
    yield from _assumed(loss)
    yield from not_judged(loss)


def _assumed(loss: JudgedLoss) -> Iterable[str]:
    """Yield what the places assume that is not so today, or was not looked at."""
    assumed = loss.assumptions
    if assumed.without_pool:
        yield (
            f"{_share_of_places(assumed.without_pool, loss, 'assume')} a ComputePool over all providers: no pool of "
            "this cluster has these pods."
        )
    for pool, milli in list(assumed.observing.items())[:NAMED]:
        yield f"{_share_of_places(milli, loss, 'assume')} mode Enforce: the ComputePool {pool} only observes."
    if assumed.unmodelled:
        names = listed(assumed.constraints, NAMED)
        yield f"{_share_of_places(assumed.unmodelled, loss, 'ignore')} constraints that are not modelled: {names}."


def _share_of_places(milli: int, loss: JudgedLoss, verb: str) -> str:
    """Begin a sentence about a share of what has somewhere to go."""
    ending = "s" if units(milli) == 1 else ""
    if milli < loss.placed:
        return f"{amount(milli)} of the {amount(loss.placed)} places {verb}{ending}"
    return f"This place {verb}s" if ending else f"All {amount(milli)} places {verb}"


def not_judged(loss: JudgedLoss) -> Iterable[str]:
    """Yield how many accelerators of a lost part are held by pods that no loss counts."""
    milli = loss.assumptions.not_judged
    if milli:
        verb = "is" if units(milli) == 1 else "are"
        yield (
            f"{accelerators(milli)} there {verb} held by pods that are not judged, such as agents, system pods and "
            "pods that end."
        )


def _nothing_lost(loss: JudgedLoss) -> str:
    if loss.assumptions.not_judged:
        return "no workload that can be judged is lost."
    return "nothing is lost: no pod holds an accelerator there."


def _rest(loss: JudgedLoss) -> str:
    if not loss.stranded:
        return "none is stranded."
    verb = "does" if units(loss.stranded) == 1 else "do"
    return f"{amount(loss.stranded)} {verb} not, of {counted(len(loss.workloads), 'workload')}."


def _once_deleted(milli: int) -> str:
    return (
        "comes back only once its lost node is deleted, because its pod keeps its name."
        if units(milli) == 1
        else "come back only once the lost nodes are deleted, because their pods keep their names."
    )


def concentration(found: Audit) -> str:
    """Say how much depends on the largest provider, the largest region, and spot capacity."""
    shares = [
        _share("the largest provider", found.largest_provider),
        _share("the largest region", found.largest_region),
        "" if found.spot is None else f"{found.spot.share:.0%} is spot",
    ]
    return f"Concentration: {'; '.join(filter(None, shares)) or 'not known'}."


def _share(what: str, found: Concentration | None) -> str:
    return "" if found is None else f"{what}, {found.name}, has {found.share:.0%}"


def providers(found: Audit) -> Iterable[str]:
    """Yield a sentence for each provider: what it has, and how its nodes were found."""
    sums = summed_up(found.supply, lambda row: row.provider)
    having = {provider.name: provider for provider in found.providers if provider.name in sums}
    for name in list(sums)[:MOST_PROVIDERS]:
        row, provider = sums[name], having[name]
        yield (
            f"{name}: {amount(row.used)} of {accelerators(row.capacity)} used on {counted(row.nodes, 'node')} "
            f"(evidence: {provider.evidence})."
        )
    if len(sums) > MOST_PROVIDERS:
        yield f"And {counted(len(sums) - MOST_PROVIDERS, 'more provider')}."
    others = [provider.name for provider in found.providers if provider.name not in sums]
    if others:
        yield f"Without accelerators: {listed(others, NAMED)}."


def goes_to(loss: JudgedLoss) -> str:
    """Say where the pods of a lost part go, and what has to happen first."""
    targets = [
        f"{name} {amount(milli)}{_yet_to_make(loss.on_demand.get(name, 0), milli)}"
        for name, milli in loss.moves.items()
    ]
    waits, left_out = loss.awaits_deletion, loss.assumptions.not_judged
    return sentences(
        (
            f"To {', '.join(targets)}" if targets else "",
            f"{amount(waits)} {_once_deleted(waits)}" if waits else "",
            f"Not judged: {amount(left_out)}" if left_out else "",
        )
    )


def _yet_to_make(made: int, milli: int) -> str:
    if not made:
        return ""
    return f" ({'all' if made == milli else amount(made)} on nodes that it has yet to make)"


def repeated_remedies(losses: Iterable[JudgedLoss]) -> dict[str, int]:
    """Return the long remedies that several losses share, each with the number of its note."""
    times = Counter(remedy.text for loss in losses for remedy in loss.remedies[:NAMED])
    repeated = [text for text, count in times.items() if count > 1 and len(text) > LONG]
    return {text: index for index, text in enumerate(repeated, 1)}


def least(loss: JudgedLoss, notes: Mapping[str, int]) -> str:
    """Say what would close the gap, the most helpful first. `notes`: remedies that stand in a note, by number."""
    more = len(loss.remedies) - NAMED
    return sentences(
        (
            *(
                f"For {amount(remedy.accelerators)} see note {notes[remedy.text]}"
                if remedy.text in notes
                else remedy.text
                for remedy in loss.remedies[:NAMED]
            ),
            f"And {more} more: see --output json" if more > 0 else "",
        )
    )


def lost_providers(loss: JudgedLoss) -> frozenset[str]:
    """Return the names of the providers that are lost as a whole."""
    return frozenset(part.name for part in loss.parts if part.kind is PartKind.PROVIDER)


def why_stranded(workload: StrandedWorkload, lost: Collection[str]) -> str:
    """Say why no provider takes a workload, such as `NoRoom at nebius, crusoe`. `lost`: providers that are lost."""
    by_reason: dict[str, list[str]] = {}
    for name, why in workload.rejected.items():
        if name not in lost:
            by_reason.setdefault(why, []).append(name)
    told = [f"{why} at {listed(names, NAMED)}" for why, names in by_reason.items()]
    told += [why for why in workload.reasons if why in _OF_PODS]
    return "; ".join(told) or ", ".join(workload.reasons)


def short_by_model(loss: JudgedLoss) -> str:
    """Say how many accelerators of which model are short."""
    models = [f"{amount(milli)} of {name or 'a model that no label tells'}" for name, milli in loss.short.items()]
    return f"Short: {listed(models, NAMED)}."


def abilities(cluster: Cluster) -> Iterable[str]:
    """Yield what the cluster can do for ComputePool, and what it has."""
    facilities = cluster.facilities
    if facilities.apis is None:
        yield "The served APIs were not read, so it is not known what the cluster can do."
    else:
        yield from _by_apis(facilities.apis)
    if facilities.autoscalers:
        yield f"Found: {', '.join(facilities.autoscalers)}."
    for pool in cluster.pools:
        ready = pool.status.condition(READY)
        if ready is not None and ready.status is not ConditionStatus.TRUE:
            # Such as AccessMissing, with each right that the operator lacks.
            said = f"The operator can't look after the pool {pool.name} ({ready.reason}): {ready.message}"
            yield full_stop(printable(said))


def _by_apis(served: Collection[str]) -> Iterable[str]:
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


def not_read(cluster: Cluster) -> Iterable[str]:
    """Yield what is missing from this audit because it could not be read."""
    for kind, why in sorted(cluster.missing.items()):
        yield f"Not read: {kind} ({why})."
    if cluster.unreadable:
        yield f"Not understood: {listed(cluster.unreadable, NAMED)}."


METHOD: Final = (
    "Each loss is judged by the decisions of the ComputePool operator itself. The pods of the lost nodes come back as "
    "waiting pods, as their controllers would create them. All of them are decided together, with the operator's "
    "order, rules of fit, limits and budgets. Pods of a ComputePool are judged by this pool, all others as if one pool "
    "had all providers.",
    "Some pods are not judged: agents (DaemonSets), pods of kube-system and of the operator's namespace, and pods "
    "that end. Each loss says how many accelerators they hold.",
    "Limits on moves at once are left out: they say when a pod leaves, and not whether it has a place. No pod preempts "
    "another pod, because one would lose what the other gains.",
    "Providers that make nodes on demand are told apart: their nodes may come late, or not at all.",
    "A pod without a controller is stranded, because nothing creates it anew. A pod with a volume or a resource claim "
    "stays in its provider and its zone, and is stranded with them, unless its annotation says that it may move. "
    "Accelerators in resource claims are not counted.",
    "The scheduler chooses the nodes. If it spreads small pods, a large pod may lack room that it has here. Affinity "
    "to other pods and topology spread are not modelled, and the verdict says how many accelerators this concerns. All "
    "figures are of the moment at which the cluster was read.",
)
"""How losses are judged."""
