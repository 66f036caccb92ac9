"""Which nodes belong to which provider: by what the user says, by the pools, or by what the nodes say themselves."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from computepool.audit.cluster import AuditedNode
from computepool.model.api import PROVIDER_KEY, ComputePool
from computepool.model.labels import Labels, Selector

OTHERS: Final = "others"
"""Small providers together: a pool has room for a limited number."""
SELF_MANAGED: Final = "self-managed"
"""The provider of nodes that say nothing of it."""
_MAX_NAME: Final = 63
_SCHEMES: Final = {"gce": "gcp", "aws": "aws", "azure": "azure", "ocid1": "oci", "alicloud": "alibaba"}
"""Names by the scheme of a providerID; other schemes are names themselves."""
_HYBRID: Final = "eks-hybrid"
_LABELS: Final = (
    ("liqo.io/remote-cluster-id", "liqo"),
    ("virtual-node.liqo.io/cluster-id", "liqo"),
)
"""Labels of virtual nodes, and the name before their value."""
VIRTUAL: Final = tuple(key for key, _ in _LABELS)


class FoundProvider(msgspec.Struct, frozen=True):
    """A provider, and the nodes that belong to it."""

    name: str
    nodes: tuple[str, ...]
    evidence: str
    """How it was found, in words."""
    keys: tuple[str, ...] = ()
    """The labels by which the user or a pool selects its nodes; empty if the nodes tell their provider themselves."""


def find_providers(
    nodes: Sequence[AuditedNode], given: Mapping[str, Selector], pools: Sequence[ComputePool]
) -> tuple[FoundProvider, ...]:
    """Return the providers of these nodes, by name. Each node belongs to the first that claims it.

    `given`: what the user says, by name. Then come the providers of the cluster's pools, and what nodes say themselves.
    """
    known = [(name, selector, "given") for name, selector in given.items()]
    known += [
        (provider.name, provider.node_selector.compiled(), f"ComputePool {pool.name}")
        for pool in pools
        for provider in pool.spec.providers
    ]
    members: dict[str, list[str]] = {}
    evidence: dict[str, str] = {}
    keys: dict[str, dict[str, None]] = {}
    for name, selector, _ in known:
        keys.setdefault(name, {}).update((requirement.key, None) for requirement in selector.requirements)
    for found in nodes:
        labels = found.node.labels
        match = next(((name, why) for name, selector, why in known if selector.matches(labels)), None)
        name, why = match if match is not None else _own(found)
        members.setdefault(name, []).append(found.node.name)
        evidence.setdefault(name, why)
    return tuple(
        FoundProvider(name, tuple(members[name]), evidence[name], tuple(keys.get(name, ()))) for name in sorted(members)
    )


def few_of(providers: Sequence[FoundProvider], sizes: Mapping[str, int], most: int) -> tuple[FoundProvider, ...]:
    """Return at most so many providers: the largest as they are, and all others as one. `sizes`: by node."""

    def rank(provider: FoundProvider) -> tuple[int, str]:
        return -sum(sizes.get(node, 0) for node in provider.nodes), provider.name

    by_size = sorted(providers, key=rank)
    if len(by_size) <= most:
        return tuple(providers)
    kept = by_size[: most - 1]
    rest = tuple(node for provider in by_size[most - 1 :] for node in provider.nodes)
    name = free_name(OTHERS, {provider.name for provider in kept}, _MAX_NAME)
    return (*kept, FoundProvider(name, rest, f"{len(by_size) - most + 1} providers together"))


def free_name(name: str, taken: Collection[str], longest: int) -> str:
    """Return the name, with a number behind it if it is taken. `longest`: letters of the name at most."""
    names = (name[:longest], *(f"{name[: longest - 4]}-{number}" for number in range(2, len(taken) + 3)))
    return next(free for free in names if free not in taken)


def _own(found: AuditedNode) -> tuple[str, str]:
    """Return the provider that a node names itself, and how it does so."""
    labels = found.node.labels
    if value := labels.get(PROVIDER_KEY):
        return _as_name(value), f"label {PROVIDER_KEY}"
    for key, name in _LABELS:
        if value := labels.get(key):
            return _as_name(f"{name}-{value}"), f"label {key}"
    if found.provider_id:
        return _of_id(found.provider_id, labels)
    if labels.get("eks.amazonaws.com/compute-type") == "hybrid":
        return _HYBRID, "label eks.amazonaws.com/compute-type"
    if labels.get("type") == "virtual-kubelet":
        return "virtual-kubelet", "label type=virtual-kubelet"
    return SELF_MANAGED, "no providerID"


def _of_id(provider_id: str, labels: Labels) -> tuple[str, str]:
    scheme = re.split(r"[:.]", provider_id, maxsplit=1)[0].lower()
    if scheme == _HYBRID or labels.get("eks.amazonaws.com/compute-type") == "hybrid":
        return _HYBRID, "providerID"
    return _SCHEMES.get(scheme, _as_name(scheme)), "providerID"


def _as_name(text: str) -> str:
    """Make a DNS label of a text, because a pool names its providers by such labels."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_MAX_NAME].strip("-")
    return name or SELF_MANAGED


def by_node(providers: Iterable[FoundProvider]) -> dict[str, str]:
    """Return the provider's name by the name of each node."""
    return {node: provider.name for provider in providers for node in provider.nodes}
