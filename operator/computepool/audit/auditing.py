"""All of an audit: from one read of a cluster to what depends on whom."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

import msgspec

from computepool.audit.activity import Measures
from computepool.audit.assumptions import Assuming
from computepool.audit.checks import Check, checks_of
from computepool.audit.cluster import Cluster
from computepool.audit.costs import Costs, costs_of
from computepool.audit.demand import Workload, WorkloadName, workload_of, workloads
from computepool.audit.gaps import remedies, stranded_workloads
from computepool.audit.losses import Judge, Outcome
from computepool.audit.node_labels import SPOT
from computepool.audit.parts import Part, largest_parts, parts_of, together
from computepool.audit.pools import MOST_PROVIDERS, judged_pools, resources_of
from computepool.audit.prices import PriceRule, Pricing
from computepool.audit.providers import FoundProvider, by_node, few_of, find_providers
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import Concentration, SupplyRow, largest, share_of, supply_rows
from computepool.audit.waste import Waste, waste_of
from computepool.model.cluster import Node
from computepool.model.labels import Selector


class Question(msgspec.Struct, frozen=True):
    """What is asked of an audit."""

    providers: Mapping[str, Selector] = MappingProxyType({})
    """Nodes of providers, by name, as the user gives them."""
    lose: tuple[str, ...] = ()
    """Names of parts that are lost together; empty: each part alone."""
    resources: tuple[str, ...] = ()
    """Names of accelerators beside the known ones."""
    prices: tuple[PriceRule, ...] = ()
    """The prices that the user gives."""
    measures: Measures | None = None
    """The answers of a Prometheus; None if none was asked."""
    reserved: tuple[str, ...] = ()
    """Namespaces whose pods no pool looks after."""


class Audit(msgspec.Struct, frozen=True):
    """What an audit finds."""

    cluster: Cluster
    resources: tuple[str, ...]
    providers: tuple[FoundProvider, ...]
    supply: tuple[SupplyRow, ...]
    largest_provider: Concentration | None
    largest_region: Concentration | None
    spot: Concentration | None
    workloads: tuple[Workload, ...]
    losses: tuple[JudgedLoss, ...]
    costs: Costs
    waste: Waste | None
    """None if it was not asked for, or got no answer."""
    measures: Measures | None
    checks: tuple[Check, ...]

    @property
    def worst(self) -> JudgedLoss | None:
        """The loss of the largest provider, or what was asked for; None where nothing can be lost."""
        return self.losses[0] if self.losses else None


def audit(
    cluster: Cluster, question: Question, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Audit:
    """Return what depends on whom in a cluster. `progress`: told how many losses are judged, and of how many.

    Raises UnknownPartError.
    """
    resources = resources_of(cluster, question.resources)
    providers = find_providers(cluster.nodes, question.providers, cluster.pools)
    provider_of = by_node(providers)
    sizes = {found.node.name: sum(found.node.capacity.get(name, 0) for name in resources) for found in cluster.nodes}
    few = few_of(providers, sizes, MOST_PROVIDERS)
    pools = judged_pools(cluster, few, _plain_prices(question.prices), resources)
    judge = Judge(cluster, pools, by_node(few), question.reserved)
    rows = supply_rows(cluster, provider_of, resources)
    parts = parts_of([found for found in cluster.nodes if sizes[found.node.name]], provider_of, sizes)
    wanted = [together(parts, question.lose)] if question.lose else [(part,) for part in largest_parts(parts)]
    judging = _Judging(cluster, judge, provider_of, resources)
    losses = []
    for done, lost in enumerate(wanted):
        progress(done, len(wanted))
        losses.append(judging.judged(lost))
    progress(len(wanted), len(wanted))
    found = workloads(cluster, judge, resources)
    largest_provider = largest(rows, lambda row: row.provider)
    measures = question.measures
    pricing = Pricing(cluster, provider_of, question.prices, {} if measures is None else measures.prices)
    waste = None
    if measures is not None and not measures.problem:
        waste = waste_of(cluster, measures, pricing, provider_of, resources)
    return Audit(
        cluster=cluster,
        resources=resources,
        providers=providers,
        supply=rows,
        largest_provider=largest_provider,
        largest_region=largest(rows, lambda row: row.region),
        spot=share_of(rows, SPOT),
        workloads=found,
        losses=tuple(losses),
        costs=costs_of(cluster, pricing, provider_of, resources, question.prices),
        waste=waste,
        measures=measures,
        checks=checks_of(cluster, rows, found, losses, largest_provider, waste, measures),
    )


def _plain_prices(rules: Iterable[PriceRule]) -> dict[str, Decimal]:
    """Return the prices that hold for all accelerators of a provider."""
    return {rule.provider: rule.price for rule in rules if not any(rule.rank)}


class _Judging:
    """Judges the losses of an audit, each set of nodes once."""

    def __init__(
        self, cluster: Cluster, judge: Judge, provider_of: Mapping[str, str], resources: Sequence[str]
    ) -> None:
        self._judge = judge
        self._provider_of = provider_of
        self._resources = resources
        self._nodes = {found.node.name: found for found in cluster.nodes}
        self._names: dict[str, WorkloadName] = {
            found.pod.uid: workload_of(found, cluster.owners) for found in cluster.pods
        }
        self._assuming = Assuming(cluster, judge.pool_of, resources)
        self._outcomes: dict[frozenset[str], Outcome] = {}

    def judged(self, parts: tuple[Part, ...]) -> JudgedLoss:
        lost = frozenset[str]().union(*(part.nodes for part in parts))
        outcome = self._outcomes.get(lost)
        if outcome is None:
            outcome = self._outcomes[lost] = self._judge.lose(lost)
        moves: Counter[str] = Counter()
        short: Counter[str] = Counter()
        for fate in outcome.fates:
            if fate.stranded:
                short[self._nodes[fate.pod.pod.node].place.model] += fate.amount
            else:
                moves[fate.target] += fate.amount
        return JudgedLoss(
            parts=parts,
            nodes=len(lost),
            capacity=sum(
                self._nodes[name].node.capacity.get(resource, 0) for name in lost for resource in self._resources
            ),
            held=sum(fate.amount for fate in outcome.fates),
            moves=dict(moves.most_common()),
            on_demand=dict(outcome.on_demand),
            awaits_deletion=sum(fate.amount for fate in outcome.fates if fate.awaits_deletion),
            stranded=short.total(),
            workloads=stranded_workloads((self._names[fate.pod.pod.uid], fate) for fate in outcome.fates),
            short=dict(short.most_common()),
            remedies=remedies(outcome.fates, self._left(lost)),
            assumptions=self._assuming.of(outcome.fates, lost),
        )

    def _left(self, lost: Collection[str]) -> dict[str, list[Node]]:
        """Return the nodes with accelerators that are left, by provider."""
        left: dict[str, list[Node]] = {}
        for name, found in self._nodes.items():
            if name not in lost and any(found.node.capacity.get(resource) for resource in self._resources):
                left.setdefault(self._provider_of.get(name, ""), []).append(found.node)
        return left
