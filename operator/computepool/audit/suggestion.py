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
from computepool.audit.node_labels import NODE_GROUP, REGION
from computepool.audit.pools import MOST_PROVIDERS, MOST_TOLERATIONS, order_of, shared_taints
from computepool.audit.providers import FoundProvider
from computepool.audit.supply import SupplyRow, summed_up
from computepool.model.accelerators import request_of
from computepool.model.api import PROVIDER_KEY
from computepool.model.cluster import Node
from computepool.model.taints import Taint
from computepool.report.formatting import moment

NODES_IN_A_COMMAND: Final = 50
MOST_VALUES: Final = 16
_PREFERRED: Final = (PROVIDER_KEY, "eks.amazonaws.com/compute-type", *NODE_GROUP, *REGION)
"""Labels that tell providers apart for good, the best first. Other labels come after these, by name."""
_NEVER: Final = frozenset({"kubernetes.io/hostname", "kubernetes.io/os", "beta.kubernetes.io/os"})


_BEFORE_ENFORCE: Final = (
    "# Before mode Enforce, as commands. From then on only pods that are sent there get there. Running pods stay.",
    "# DaemonSets, such as the device plugin, have to tolerate the taint: see docs/daemonsets.md.",
)


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
        lines = []
        if self.labels:
            lines += ["# First, as commands:", *(f"#   {line}" for line in self.labels), "#"]
        if self.taints:
            lines += [*_BEFORE_ENFORCE, *(f"#   {line}" for line in self.taints), "#"]
        return "\n".join((*lines, self.manifest))


class _Pool(msgspec.Struct):
    """The manifest of one pool, as it is written."""

    lines: list[str]
    labels: list[str]
    taints: list[str]


class _Chosen(msgspec.Struct, frozen=True):
    """How the nodes of one provider are selected."""

    selector: Mapping[str, object]
    """As a pool's nodeSelector."""
    flag: str
    """The same as kubectl's --selector."""
    commands: tuple[str, ...] = ()
    why: str = ""


def suggest(found: Audit) -> Suggestion:
    """Return a pool for each accelerator that two providers have. Raises NoSuggestionError."""
    nodes = {each.node.name: each.node for each in found.cluster.nodes}
    manifests: list[str] = []
    labels: dict[str, None] = {}
    taints: dict[str, None] = {}
    for resource in found.resources:
        providers = order_of(found.providers, found.cluster.pods, resource, nodes)[:MOST_PROVIDERS]
        if len(providers) < 2:
            continue
        pool = _pool(found, resource, providers, nodes)
        manifests.append("\n".join(pool.lines))
        labels.update(dict.fromkeys(pool.labels))
        taints.update(dict.fromkeys(pool.taints))
    if not manifests:
        names = ", ".join(provider.name for provider in found.providers) or "no node with accelerators"
        raise NoSuggestionError(
            f"a pool needs two providers that have the same accelerator, and there is {names}. If the nodes of one "
            "provider belong to two, tell them apart: --provider NAME=LABEL=VALUE"
        )
    return Suggestion("\n---\n".join(manifests), tuple(labels), tuple(taints))


def _pool(found: Audit, resource: str, providers: Sequence[FoundProvider], nodes: Mapping[str, Node]) -> _Pool:
    supply = summed_up((row for row in found.supply if row.resource == resource), lambda row: row.provider)
    lines = [
        f"# Suggested by `computepool audit` from {found.cluster.source} as of "
        f"{moment(found.cluster.now).isoformat(timespec='seconds')}.",
        "# In mode Observe the operator reports what it would do, and changes nothing.",
        *_existing(found, resource),
        "apiVersion: computepool.io/v1alpha1",
        "kind: ComputePool",
        "metadata:",
        f"  name: {_name(resource)}",
        "spec:",
        "  mode: Observe",
        "  accelerator:",
        f"    resourceName: {resource}",
        "  # workloads is left out: the pool takes all pods that request the accelerator.",
        "  providers:",
    ]
    pool = _Pool(lines, [], [])
    for index, provider in enumerate(providers):
        own = [nodes[name] for name in provider.nodes if nodes[name].capacity.get(resource)]
        others = [node for name, node in nodes.items() if name not in provider.nodes and node.capacity.get(resource)]
        chosen = _choose(provider.name, own, others)
        pool.labels += chosen.commands
        pool.lines += _provider(provider, supply[provider.name], chosen, primary=not index)
        if index:
            tolerations, needed = _taint(found, provider, own, chosen, resource)
            pool.lines += tolerations
            pool.taints += needed
        if (price := found.costs.prices.get((provider.name, resource))) is not None:
            pool.lines.append(f'    pricePerAcceleratorHour: "{price.per_hour:f}"  # By {price.source}.')
    return pool


def _existing(found: Audit, resource: str) -> Iterable[str]:
    names = [pool.name for pool in found.cluster.pools if pool.spec.accelerator.resource_name == resource]
    if names:
        yield f"# There is a pool for {resource} already: {', '.join(names)}. The older pool keeps the pods of both."


def _provider(provider: FoundProvider, row: SupplyRow, chosen: _Chosen, *, primary: bool) -> list[str]:
    amounts = f"{units(row.capacity)} accelerators, {units(row.used)} of them held"
    role = "It is the primary, because most are held there" if primary else "A standby"
    return [
        f"  # {row.nodes} nodes with {amounts}. {role}. Found by {provider.evidence}.",
        f"  - name: {provider.name}",
        *([f"    # {chosen.why}"] if chosen.why else []),
        f"    nodeSelector: {json.dumps(chosen.selector)}",
    ]


def _choose(name: str, own: Sequence[Node], others: Sequence[Node]) -> _Chosen:
    """Choose labels that all of the provider's nodes have, and no other node with the accelerator."""
    common = set.intersection(*(set(node.labels.items()) for node in own)) if own else set()
    theirs = {item for node in others for item in node.labels.items()}
    alone = sorted(common - theirs, key=lambda item: _rank(item[0]))
    usable = [(key, value) for key, value in alone if key not in _NEVER and value]
    if usable:
        key, value = usable[0]
        return _Chosen({"matchLabels": {key: value}}, f"{key}={value}")
    for key in (key for key in _PREFERRED if all(node.labels.get(key) for node in own)):
        values = sorted({node.labels[key] for node in own})
        if len(values) <= MOST_VALUES and all(node.labels.get(key) not in values for node in others):
            expression = {"key": key, "operator": "In", "values": values}
            return _Chosen({"matchExpressions": [expression]}, f"{key} in ({', '.join(values)})")
    names = [node.name for node in own]
    groups = [names[at : at + NODES_IN_A_COMMAND] for at in range(0, len(names), NODES_IN_A_COMMAND)]
    return _Chosen(
        {"matchLabels": {PROVIDER_KEY: name}},
        f"{PROVIDER_KEY}={name}",
        tuple(f"kubectl label nodes {' '.join(group)} {PROVIDER_KEY}={name}" for group in groups),
        "No label tells these nodes from the others, so they get this label.",
    )


def _rank(key: str) -> tuple[int, str]:
    return (_PREFERRED.index(key) if key in _PREFERRED else len(_PREFERRED), key)


def _taint(
    found: Audit, provider: FoundProvider, own: Sequence[Node], chosen: _Chosen, resource: str
) -> tuple[list[str], list[str]]:
    """Return the lines of a standby's tolerations, and the command for its taint if it has none that keeps pods off."""
    shared = shared_taints(own)
    default = Taint(PROVIDER_KEY, provider.name, "NoSchedule")
    others = [taint for taint in shared if taint != default and not _all_tolerate(found, taint, resource)]
    taints = [default, *others] if default in shared else others
    if not others:
        told = [f"    # Pods are sent there by the toleration of {PROVIDER_KEY}={provider.name}:NoSchedule."]
        if taints:
            return told, []
        return told, [f"kubectl taint nodes --selector='{chosen.flag}' {PROVIDER_KEY}={provider.name}:NoSchedule"]
    entries = [
        {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
        for taint in taints[:MOST_TOLERATIONS]
    ]
    lines = [f"    - {json.dumps(entry)}" for entry in entries]
    return ["    # The taints that all of its nodes carry.", "    tolerations:", *lines], []


def _all_tolerate(found: Audit, taint: Taint, resource: str) -> bool:
    """Say whether all pods with the accelerator tolerate a taint by themselves, as the taint of a device plugin."""
    if taint.key == resource:
        return True
    shapes = {pod.pod.shape for pod in found.cluster.pods if request_of(pod.pod, resource)}
    return bool(shapes) and all(
        any(toleration.tolerates(taint) for toleration in shape.tolerations) for shape in shapes
    )


def _name(resource: str) -> str:
    """Make a pool's name of an accelerator's: nvidia.com/gpu becomes nvidia-gpu."""
    domain, _, name = resource.partition("/")
    return re.sub(r"[^a-z0-9]+", "-", f"{domain.split('.')[0]}-{name}".lower()).strip("-")[:51].strip("-")
