"""Nodes that a pool's selectors do not find, find twice, or find without accelerators."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Overlaps, Supply
from computepool.assess.configuration.commands import (
    add_label,
    merge_pool,
    selector_text,
    set_in_pool,
    tolerate_in_daemon_set,
)
from computepool.assess.configuration.finding import Finding, Severity
from computepool.assess.health.providers import ProviderHealth
from computepool.assess.recheck_times import soonest
from computepool.model.accelerators import serves_other_kind
from computepool.model.api import ComputePool
from computepool.model.api.selectors import SelectorRequirement
from computepool.model.labels import Requirement, Selector
from computepool.model.reasons import Reason

_NEGATED = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}


def claimed_twice(pool: ComputePool, providers: Sequence[Provider], overlaps: Overlaps) -> Iterable[Finding]:
    """Yield a finding for each set of providers that claim the same nodes."""
    by_name = {provider.name: provider for provider in providers}
    for claimants, names in sorted(overlaps.items()):
        first, second = by_name[claimants[0]], by_name[claimants[1]]
        yield Finding(
            Reason.NODES_CLAIMED_TWICE,
            Severity.FAULT,
            f"nodes match the nodeSelectors of {' and '.join(claimants)} and count for {first.name}",
            provider=first.name,
            names=tuple(sorted(names)),
            mend=_leave_to(pool, first, second),
        )


def _leave_to(pool: ComputePool, first: Provider, second: Provider) -> str:
    """Return the command by which the first provider leaves to the second all nodes that both match."""
    spec = pool.spec.providers[first.index].node_selector
    for need in second.selector.requirements:
        negated = Requirement(need.key, _NEGATED[need.operator], need.values)
        if need in first.selector.requirements or first.selector.excludes(Selector((negated,))):
            continue
        expressions = [*spec.match_expressions, SelectorRequirement.from_compiled(negated)]
        written = [expression.to_object() for expression in expressions]
        path = f"/providers/{first.index}/nodeSelector/matchExpressions"
        return f"To leave them to {second.name}: {set_in_pool(pool.name, path, written)}"
    return ""


def unmatched(supplies: Sequence[Supply]) -> Iterable[Finding]:
    """Yield a finding for each provider without nodes, unless its nodes are made on demand."""
    for supply in supplies:
        provider = supply.provider
        if supply.nodes or provider.kind.before_room:
            continue
        what = f"no node matches the nodeSelector of {provider.name} ({selector_text(provider.selector)})"
        if provider.drain and not provider.primary:
            # A provider is drained, and then its nodes are removed, when it is not used any more.
            rest = "" if len(supplies) > 2 else "; the pool needs another standby then"
            yield Finding(
                Reason.NO_NODES_MATCH,
                Severity.NOTICE,
                f"{what}, and it is drained",
                provider=provider.name,
                mend=f"If it is not used any more, remove it from spec.providers{rest}",
            )
        else:
            label = add_label("nodes", "NODE", provider.selector)
            yield Finding(
                Reason.NO_NODES_MATCH,
                Severity.FAULT,
                what,
                provider=provider.name,
                mend=f"{label}, or set capacity.type to OnDemand if an autoscaler makes the nodes",
            )


def accelerator_not_found(pool: ComputePool, supplies: Sequence[Supply]) -> Iterable[Finding]:
    """Yield a finding if no node of any provider offers the pool's accelerator."""
    resource = pool.spec.accelerator.resource_name
    infos = [info for supply in supplies for info in supply.nodes]
    served = any(supply.uncounted for supply in supplies)
    if not infos or served or any(resource in info.accelerators for info in infos):
        return
    offered = sorted({name for info in infos for name, found in info.accelerators.items() if found.capacity})
    mend = "Check spec.accelerator.resourceName, and the device plugin on the nodes"
    if len(offered) == 1:
        command = merge_pool(pool.name, {"accelerator": {"resourceName": offered[0]}})
        mend = f"They offer {offered[0]}. If the pool's pods request that: {command}"
    yield Finding(
        Reason.ACCELERATOR_NOT_FOUND,
        Severity.FAULT,
        f"no node of its providers offers {resource!r}",
        names=tuple(sorted(info.node.name for info in infos)),
        mend=mend,
    )


class DeviceCheck:
    """Finds nodes of standbys that have never offered the accelerator, although they have been Ready for long."""

    def __init__(self, pool: ComputePool, health: Mapping[str, ProviderHealth], now: float) -> None:
        """`health`: by provider."""
        self._resource = pool.spec.accelerator.resource_name
        self._health = health
        self._now = now
        self.recheck_at: float | None = None
        """When the first of the other nodes has had its time."""

    def findings(self, supplies: Sequence[Supply]) -> Iterable[Finding]:
        """Yield a finding for each standby with such nodes. A node has its provider's timeout to get accelerators."""
        for supply in supplies[1:]:
            health = self._health.get(supply.provider.name)
            if health is not None and health.joining:
                yield from self._lacking(supply, health.joining)

    def _lacking(self, supply: Supply, joining: frozenset[str]) -> Iterable[Finding]:
        provider = supply.provider
        names, soon = [], inf
        for info in supply.nodes:
            node = info.node
            if node.name not in joining or node.ready != "True" or serves_other_kind(info, self._resource):
                continue
            until = node.created + provider.timeout
            if until > self._now:
                soon = min(soon, until)
            else:
                names.append(node.name)
        self.recheck_at = soonest(self._now, (self.recheck_at, None if soon == inf else soon))
        if names:
            command = tolerate_in_daemon_set(provider.tolerations[0].key)
            yield Finding(
                Reason.NO_DEVICES_ON_NODE,
                Severity.FAULT if len(names) == len(supply.nodes) else Severity.NOTICE,
                f"nodes of {provider.name} are Ready and have not offered {self._resource}",
                provider=provider.name,
                names=tuple(sorted(names)),
                mend=f"If the nodes' taint keeps the device plugin off: {command}. Leave nodes without accelerators, "
                "and nodes that DRA serves, out of the provider's nodeSelector",
            )
