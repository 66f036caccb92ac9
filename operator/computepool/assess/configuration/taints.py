"""Taints of a pool's nodes that do not fit the spec.

A standby's taint has to keep pods off that were not sent there, and the provider's tolerations have to let pods in that
were. Any taint does, also one that Liqo or a virtual kubelet has put there. A taint of the primary has to be tolerated
by the pool's own pods. Taints that come and go are left out: the states of a node, startup taints that the spec lists,
announced removals, and quarantine.

Nodes without accelerators are left out, because no pod of the pool can run there. So are nodes that are starting: an
autoscaler may put the provider's own taint there a moment after the startup taint.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.reach import Reach
from computepool.assess.capacity.startup import StartupTaints, startup_taints
from computepool.assess.capacity.supply import Supply
from computepool.assess.configuration.commands import (
    remove_taint,
    set_in_pool,
    taint_nodes,
    toleration_of,
    written,
)
from computepool.assess.configuration.finding import Finding, Severity
from computepool.assess.health.faults import AUTOSCALER_TAINTS
from computepool.model.accelerators import accelerators_of
from computepool.model.api import UNAVAILABLE_KEY, ComputePool
from computepool.model.cluster import NodeInfo
from computepool.model.labels import Selector
from computepool.model.reasons import Reason
from computepool.model.taints import Taint, Toleration, covered, tolerance_of, tolerated

Taints = tuple[Taint, ...]
Tolerates = Callable[[Sequence[Taint]], bool]
Groups = Mapping[Taints, Sequence[NodeInfo]]
MAX_GROUPS: Final = 3
"""How many sets of foreign taints of one provider are told at once: each node might have a taint of its own."""
MAX_TOLERATIONS: Final = 8
"""How many tolerations the spec allows a provider."""


class TaintCheck:
    """Holds the taints of a pool's nodes against its providers' tolerations and its pods. It lives for one pass.

    Most nodes have equal taints, so each set of taints is judged once.
    """

    def __init__(self, pool: ComputePool, supplies: Sequence[Supply], reach: Reach, shared: frozenset[str]) -> None:
        """`shared`: the providers with nodes that another provider claims too."""
        health = pool.spec.health
        self._pool = pool
        self._supplies = supplies
        self._reach = reach
        self._shared = shared
        self._resource = pool.spec.accelerator.resource_name
        self._listed: StartupTaints = startup_taints(health.startup_taints)
        self._passing = AUTOSCALER_TAINTS.union(health.removal_taints, (UNAVAILABLE_KEY,))
        self._groups = {supply.provider.name: self._by_taints(supply) for supply in supplies}
        self.unusable: dict[str, frozenset[str]] = {}
        """By provider: names of its nodes that no pod of the pool could use; filled by `findings`."""

    def findings(self) -> Iterable[Finding]:
        """Yield the findings about all providers."""
        for supply in self._supplies:
            provider, groups = supply.provider, self._groups[supply.provider.name]
            if not provider.primary:
                yield from self._untainted(provider, groups)
            yield from self._not_tolerated(provider, groups)

    # --- a standby that anybody may use

    def _untainted(self, provider: Provider, groups: Groups) -> Iterable[Finding]:
        suspects = [taints for taints in groups if not _has_own_taint(provider, taints)]
        tolerances = self._not_sent(provider) if any(suspects) else ()
        names = sorted(
            name
            for taints in suspects
            if not taints or any(tolerates(taints) for tolerates in tolerances)
            for name in self._with_accelerators(groups[taints])
        )
        if names:
            yield Finding(
                Reason.STANDBY_NOT_TAINTED,
                Severity.FAULT,
                f"nodes of {provider.name} have no taint that keeps other pods off",
                provider=provider.name,
                names=tuple(names),
                mend=self._keep_off(provider, names),
            )

    def _keep_off(self, provider: Provider, names: Sequence[str]) -> str:
        """Return the command after which other pods keep off these nodes, or what to do in words."""
        taint = self._taint_for(provider)
        if taint is None:
            return (
                "No taint that the provider's tolerations tolerate would do that. Add a toleration of effect "
                f"NoSchedule to spec.providers[{provider.index}].tolerations that no pod has by itself, and taint the "
                "nodes"
            )
        warning = ", which evicts the pods there that do not tolerate it" if taint.effect == "NoExecute" else ""
        return taint_nodes(names, self._selector(provider), str(taint)) + warning

    def _taint_for(self, provider: Provider) -> Taint | None:
        """Return the taint that a standby's nodes should have: its tolerations tolerate it, and other pods do not."""
        tolerances = [*self._not_sent(provider), tolerance_of(self._presumed)]
        for effect in ("NoSchedule", "NoExecute"):
            for toleration in provider.tolerations:
                taint = Taint(toleration.key, toleration.value, effect)
                keeps_off = _has_own_taint(provider, (taint,)) or not any(known((taint,)) for known in tolerances)
                if toleration.tolerates(taint) and keeps_off:
                    return taint
        return None

    def _not_sent(self, provider: Provider) -> Sequence[Tolerates]:
        """Return the tolerations of pods that have not all tolerations of the provider."""
        found = [own for own in self._own_tolerations if not covered(provider.tolerations, own)]
        return [tolerance_of(own) for own in found or [self._presumed]]

    # --- nodes that no pod of the pool may use

    def _not_tolerated(self, provider: Provider, groups: Groups) -> Iterable[Finding]:
        suspects = [taints for taints in groups if not tolerated(taints, provider.tolerations)]
        if not suspects:
            return
        tolerances = [tolerance_of(own + provider.tolerations) for own in self._own_tolerations]
        shut: dict[Taints, list[str]] = {}
        for taints in suspects:
            if not any(tolerates(taints) for tolerates in tolerances):
                found = shut.setdefault(_in_the_way(taints, tolerances), [])
                found += self._with_accelerators(groups[taints])
        names = frozenset(name for nodes in shut.values() for name in nodes)
        if not names:
            return
        seen = bool(self._reach.tolerations)
        # Which foreign taints the next pods tolerate is not known before they are there.
        self.unusable[provider.name] = frozenset(
            name for taints, nodes in shut.items() if seen or _is_own(provider, taints) for name in nodes
        )
        all_shut = len(names) == sum(len(self._with_accelerators(infos)) for infos in groups.values())
        for taints in sorted(filter(shut.get, shut), key=_written)[:MAX_GROUPS]:
            own = _is_own(provider, taints)
            mend = self._admit(provider, taints, sorted(shut[taints]))
            yield Finding(
                Reason.PRIMARY_TAINT_NOT_TOLERATED if provider.primary else Reason.STANDBY_TAINT_NOT_TOLERATED,
                # Single nodes may be reserved for others, or in maintenance. Pods that are not there yet may tolerate
                # any taint. But a wrong taint of the provider's own key is a mistake.
                Severity.FAULT if own or (all_shut and seen) else Severity.NOTICE,
                f"nodes of {provider.name} carry {_written(taints)}",
                provider=provider.name,
                names=tuple(sorted(shut[taints])),
                mend=mend
                if own or seen
                else f"The pool has no pods that show whether they tolerate it. If not: {mend}",
            )

    def _admit(self, provider: Provider, taints: Taints, names: Sequence[str]) -> str:
        """Return the commands after which pods may run on the nodes with these taints."""
        selector = self._selector(provider)
        if provider.primary:
            removal = taint_nodes(names, selector, *map(remove_taint, taints))
            return f"{removal}, or give the pods' templates a toleration"
        right = self._taint_for(provider)
        own = [taint for taint in taints if right and taint.key in provider.own_keys]
        foreign = [taint for taint in taints if taint not in own]
        commands = []
        if right and own:
            wrong = [taint for taint in own if (taint.key, taint.effect) != (right.key, right.effect)]
            commands.append(taint_nodes(names, selector, str(right), *map(remove_taint, wrong)))
        if foreign and len(provider.tolerations) + len(foreign) > MAX_TOLERATIONS:
            commands.append(taint_nodes(names, selector, *map(remove_taint, foreign)))
        elif foreign:
            tolerations = [*map(written, provider.tolerations), *map(toleration_of, foreign)]
            path = f"/providers/{provider.index}/tolerations"
            commands.append(set_in_pool(self._pool.name, path, tolerations))
        return " and ".join(commands)

    # --- what both have in common

    def _by_taints(self, supply: Supply) -> Groups:
        """Return a provider's nodes by the taints that are there to stay."""
        starting = supply.starting
        settled = [info for info in supply.nodes if info.node.name not in starting] if starting else supply.nodes
        by_taints: dict[Taints, list[NodeInfo]] = {}
        for taints, infos in _by_identity(settled):
            by_taints.setdefault(taints, []).extend(infos)
        lasting: dict[Taints, list[NodeInfo]] = {}
        for taints, nodes in by_taints.items():
            lasting.setdefault(tuple(filter(self._lasts, taints)), []).extend(nodes)
        return lasting

    def _with_accelerators(self, infos: Iterable[NodeInfo]) -> Sequence[str]:
        """Return the names of the nodes that have accelerators and are not being deleted."""
        resource = self._resource
        return [info.node.name for info in infos if accelerators_of(info, resource).capacity and not info.node.deleting]

    def _lasts(self, taint: Taint) -> bool:
        """Say whether a taint keeps pods off and is there to stay."""
        passing = taint.transient or taint.key in self._passing or self._listed.lists(taint)
        return taint.blocks and not passing

    @cached_property
    def _own_tolerations(self) -> Sequence[tuple[Toleration, ...]]:
        """The different tolerations of the pool's pods. Without pods, those that its next pods probably have."""
        return self._reach.tolerations or (self._presumed,)

    @cached_property
    def _presumed(self) -> tuple[Toleration, ...]:
        """The tolerations of pods that run on the primary.

        They tolerate what all of its nodes carry. The API server lets pods tolerate a taint that is named for the
        accelerator that they request (the admission plugin ExtendedResourceToleration).
        """
        groups = self._groups[self._supplies[0].provider.name]
        sets = [frozenset(taints) for taints, infos in groups.items() if self._with_accelerators(infos)]
        everywhere = frozenset.intersection(*sets) if sets else frozenset[Taint]()
        exact = [Toleration(taint.key, "Equal", taint.value, taint.effect) for taint in everywhere]
        return (*exact, Toleration(self._resource, "Exists"))

    def _selector(self, provider: Provider) -> Selector | None:
        return None if provider.name in self._shared else provider.selector


def _by_identity(infos: Iterable[NodeInfo]) -> Iterable[tuple[Taints, Sequence[NodeInfo]]]:
    """Group nodes by the identity of their taints, which most nodes share: to compare taints costs more."""
    by_identity: dict[int, list[NodeInfo]] = {}
    for info in infos:
        by_identity.setdefault(id(info.node.taints), []).append(info)
    return [(infos[0].node.taints, infos) for infos in by_identity.values()]


def _in_the_way(taints: Taints, tolerances: Sequence[Tolerates]) -> Taints:
    """Return the taints that no pod tolerates; all of them if each is tolerated by some pod."""
    found = tuple(taint for taint in taints if not any(tolerates((taint,)) for tolerates in tolerances))
    return tuple(sorted(found or taints, key=str))


def _has_own_taint(provider: Provider, taints: Taints) -> bool:
    """Say whether these taints keep off all pods that have not chosen to run there.

    If a provider has several tolerations, all pods may tolerate a taint of one of them anyway.
    """
    return len(provider.tolerations) == 1 and any(map(provider.tolerations[0].tolerates, taints))


def _is_own(provider: Provider, taints: Taints) -> bool:
    """Say whether one of these taints of a standby has a key by which standbys are told apart."""
    return not provider.primary and any(taint.key in provider.own_keys for taint in taints)


def _written(taints: Taints) -> str:
    return " and ".join(map(str, taints))
