"""A ComputePool that fits a cluster, in mode Observe, and what has to be labelled and tainted first.

The manifest is text, because its comments say where each value comes from.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.audit.accelerators import units
from computepool.audit.auditing import Audit
from computepool.audit.pools import MOST_PROVIDERS, MOST_TOLERATIONS, blocking_taints, order_of, passes, shared_taints
from computepool.audit.providers import FoundProvider, free_name
from computepool.audit.selection import Selection, by_name, select
from computepool.audit.supply import SupplyRow, summed_up
from computepool.model.accelerators import request_of
from computepool.model.api import PROVIDER_KEY
from computepool.model.api.pool import MAX_NAME
from computepool.model.cluster import Node
from computepool.model.taints import Taint
from computepool.report.formatting import counted, listed, moment

_BEFORE_ENFORCE: Final = (
    "Before mode Enforce, as commands. From then on only pods that are sent there get there. Running pods stay.",
    "DaemonSets, such as the device plugin, have to tolerate the taint: see docs/daemonsets.md.",
)
_OWN_TAINTS: Final = (PROVIDER_KEY, "virtual-kubelet.io/", "virtual-node.liqo.io/")
"""Beginnings of the keys of taints that nodes carry because of their provider, and that no other pod tolerates."""
_NAMED_TAINTS: Final = 3


class NoSuggestionError(ValueError):
    """No pool can be suggested; the message says why."""


class Suggestion(msgspec.Struct, frozen=True):
    """Manifests, and the commands that have to run before them."""

    manifest: str
    labels: tuple[str, ...]
    """Commands that label nodes, so that the pool can select them."""
    taints: tuple[str, ...]
    """Commands that taint the nodes of standbys, so that only pods that are sent there get there."""

    def __str__(self) -> str:
        """Write all of it as one YAML file: the commands are comments."""
        lines: list[str] = []
        if self.labels:
            lines += ["First, as commands:", *(f"  {line}" for line in self.labels), ""]
        if self.taints:
            lines += [*_BEFORE_ENFORCE, *(f"  {line}" for line in self.taints), ""]
        return "\n".join((*map(_comment, lines), self.manifest))


class _Pool(msgspec.Struct):
    """The manifest of one pool, as it is written."""

    lines: list[str]
    labels: list[str]
    taints: list[str]


class _Standby(msgspec.Struct, frozen=True):
    """What keeps other pods off the nodes of a standby."""

    tolerations: tuple[Taint, ...]
    """The taints that pods which are sent there tolerate."""
    to_taint: tuple[Node, ...]
    """Nodes that lack the provider's own taint."""
    passing: tuple[Taint, ...]
    """Taints of all its nodes that stand for a state that passes."""


def suggest(found: Audit) -> Suggestion:
    """Return a pool for each accelerator that two providers have. Raises NoSuggestionError."""
    nodes = {each.node.name: each.node for each in found.cluster.nodes}
    orders = {
        resource: providers
        for resource in found.resources
        if len(providers := order_of(found.providers, found.cluster.pods, resource, nodes)[:MOST_PROVIDERS]) > 1
    }
    if not orders:
        names = ", ".join(provider.name for provider in found.providers) or "no node with accelerators"
        raise NoSuggestionError(
            f"a pool needs two providers that have the same accelerator, and there is {names}. If the nodes of one "
            "provider belong to two, tell them apart: --provider NAME=LABEL=VALUE"
        )
    names_by_resource = _names(orders, {pool.name for pool in found.cluster.pools})
    primaries = _primaries(found, {names_by_resource[resource]: orders[resource][0] for resource in orders})
    pools = [
        _pool(found, resource, names_by_resource[resource], orders[resource], nodes, primaries) for resource in orders
    ]
    return Suggestion(
        "\n---\n".join("\n".join(pool.lines) for pool in pools),
        tuple(dict.fromkeys(command for pool in pools for command in pool.labels)),
        tuple(dict.fromkeys(command for pool in pools for command in pool.taints)),
    )


def _primaries(found: Audit, suggested: Mapping[str, FoundProvider]) -> dict[str, str]:
    """Return by node the pool whose primary it belongs to, of the pools that there are and those that are suggested."""
    primaries = {node: name for name, provider in suggested.items() for node in provider.nodes}
    for pool in found.cluster.pools:
        selector = pool.spec.primary.node_selector.compiled()
        for each in found.cluster.nodes:
            if selector.matches(each.node.labels):
                primaries.setdefault(each.node.name, pool.name)
    return primaries


def _pool(
    found: Audit,
    resource: str,
    name: str,
    providers: Sequence[FoundProvider],
    nodes: Mapping[str, Node],
    primaries: Mapping[str, str],
) -> _Pool:
    supply = summed_up((row for row in found.supply if row.resource == resource), lambda row: row.provider)
    lines = [
        _comment(
            f"Suggested by `computepool audit` from {found.cluster.source} as of "
            f"{moment(found.cluster.now).isoformat(timespec='seconds')}."
        ),
        "# In mode Observe the operator reports what it would do, and changes nothing.",
        *_existing(found, resource),
        "apiVersion: computepool.io/v1alpha1",
        "kind: ComputePool",
        "metadata:",
        f"  name: {json.dumps(name)}",
        "spec:",
        "  mode: Observe",
        "  accelerator:",
        f"    resourceName: {resource}",
        "  # workloads is left out: the pool takes all pods that request the accelerator.",
        "  providers:",
    ]
    pool = _Pool(lines, [], [])
    for index, provider in enumerate(providers):
        members = [nodes[node] for node in provider.nodes]
        own = [node for node in members if node.capacity.get(resource)]
        rest = [node for node in members if not node.capacity.get(resource)]
        inside = frozenset(provider.nodes)
        outside = [node for node in nodes.values() if node.name not in inside]
        selection = select(provider, own, rest, outside)
        pool.labels += selection.commands
        pool.lines += _provider(provider, supply[provider.name], selection, primary=not index)
        if index:
            standby = _standby(found, provider, own, outside, resource)
            protected = next((primaries[node.name] for node in own if node.name in primaries), "")
            pool.lines += _tolerations(provider, standby, protected)
            if not protected:
                pool.taints += _taint_commands(provider, standby, own, selection)
        if (price := found.costs.prices.get((provider.name, resource))) is not None:
            pool.lines.append(f'    pricePerAcceleratorHour: "{price.per_hour:f}"  # By {price.source}.')
    return pool


def _existing(found: Audit, resource: str) -> Iterable[str]:
    names = [pool.name for pool in found.cluster.pools if pool.spec.accelerator.resource_name == resource]
    if names:
        yield f"# There is a pool for {resource} already: {', '.join(names)}. The older pool keeps the pods of both."
        yield "# To change that pool, put its name here, and read first what `computepool diff -f` says."


def _provider(provider: FoundProvider, row: SupplyRow, selection: Selection, *, primary: bool) -> list[str]:
    amounts = f"{counted(row.nodes, 'node')} with {units(row.capacity)} accelerators, {units(row.used)} of them held"
    role = "It is the primary, because most are held there" if primary else "A standby"
    why = ["    # No lasting label tells these nodes from the others, so they get this label."]
    return [
        f"  # {amounts}. {role}. Found by {provider.evidence}.",
        f"  - name: {json.dumps(provider.name)}",
        *(why if selection.commands else []),
        f"    nodeSelector: {json.dumps(selection.selector)}",
    ]


def _standby(
    found: Audit, provider: FoundProvider, own: Sequence[Node], outside: Sequence[Node], resource: str
) -> _Standby:
    """Find the provider's own taint and the other lasting taints of its nodes. Without one of its own, it gets one."""
    default = _default_taint(provider)
    elsewhere = {taint for node in outside for taint in node.taints}
    shared = [taint for taint in shared_taints(own) if taint == default or not _all_tolerate(found, taint, resource)]
    passing = tuple(taint for taint in blocking_taints(own) if passes(taint))
    if default in shared or any(taint.key.startswith(_OWN_TAINTS) and taint not in elsewhere for taint in shared):
        first = [taint for taint in shared if taint == default]
        to_taint: tuple[Node, ...] = ()
    else:
        first, to_taint = [default], tuple(node for node in own if default not in node.taints)
    others = [taint for taint in shared if taint != default]
    return _Standby((*first, *others)[:MOST_TOLERATIONS], to_taint, passing)


def _default_taint(provider: FoundProvider) -> Taint:
    return Taint(PROVIDER_KEY, provider.name, "NoSchedule")


def _tolerations(provider: FoundProvider, standby: _Standby, protected: str) -> Iterable[str]:
    if standby.passing:
        names = listed([f"{taint.key}:{taint.effect}" for taint in standby.passing], _NAMED_TAINTS)
        yield _comment(f"All of its nodes carry {names} now. Pods do not tolerate it, because it passes.", "    ")
    if standby.to_taint and protected:
        yield f"    # No command taints its nodes: some belong to the primary of the pool {protected}, and the taint"
        yield "    # would keep the pods of that pool off. Before mode Enforce, taint the nodes that no such pod needs."
    if standby.tolerations == (_default_taint(provider),):
        yield f"    # Pods are sent there by the toleration of {PROVIDER_KEY}={provider.name}:NoSchedule."
        return
    yield "    # Its own taint, and the lasting taints that all of its nodes carry."
    yield "    tolerations:"
    for taint in standby.tolerations:
        entry = {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
        yield f"    - {json.dumps(entry)}"


def _taint_commands(
    provider: FoundProvider, standby: _Standby, own: Sequence[Node], selection: Selection
) -> Iterable[str]:
    """Name the nodes by a selector only where it selects just these: other nodes must keep their pods."""
    change = f"{PROVIDER_KEY}={provider.name}:NoSchedule"
    if selection.flag and len(standby.to_taint) == len(own):
        return [f"kubectl taint nodes --selector='{selection.flag}' {change}"]
    return by_name("taint", standby.to_taint, change)


def _all_tolerate(found: Audit, taint: Taint, resource: str) -> bool:
    """Say whether all pods with the accelerator tolerate a taint by themselves, as the taint of a device plugin."""
    if taint.key == resource:
        return True
    shapes = {pod.pod.shape for pod in found.cluster.pods if request_of(pod.pod, resource)}
    return bool(shapes) and all(
        any(toleration.tolerates(taint) for toleration in shape.tolerations) for shape in shapes
    )


def _names(resources: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Make a free pool's name for each accelerator: nvidia.com/gpu becomes nvidia-gpu."""
    used = set(taken)
    names = {}
    for resource in resources:
        domain, _, short = resource.partition("/")
        wanted = re.sub(r"[^a-z0-9]+", "-", f"{domain.split('.')[0]}-{short}".lower())[:MAX_NAME].strip("-")
        names[resource] = free_name(wanted, used, MAX_NAME)
        used.add(names[resource])
    return names


def _comment(text: str, indent: str = "") -> str:
    """Make a comment of YAML of a text, which may hold anything, such as a path with line ends."""
    return f"{indent}# {' '.join(text.splitlines())}".rstrip() if text.strip() else f"{indent}#"
