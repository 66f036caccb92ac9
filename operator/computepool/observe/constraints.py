"""Reads what a pod demands of its node: node selector, node affinity, and by name the constraints that fit ignores.

Any user may write a selector with a hundred thousand parts, and a pass compares each part with each node. So a selector
beyond the bounds here is not read. It counts as a constraint that fit does not model, and that is told.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from computepool.kube import wire
from computepool.model.labels import Requirement, Term

MAX_REQUIREMENTS: Final = 64
"""Labels of a node selector, and expressions of a node affinity, that are read."""
MAX_VALUES: Final = 1_024
"""Values of all expressions of a node affinity together that are read."""
NODE_SELECTOR: Final = "nodeSelector"
NODE_AFFINITY: Final = "nodeAffinity"


def node_selector_of(spec: wire.PodSpec) -> tuple[tuple[str, str], ...]:
    """Return the labels that the pod's node must have; none if there are too many to read."""
    labels = spec.node_selector or {}
    return () if len(labels) > MAX_REQUIREMENTS else tuple(sorted(labels.items()))


def affinity_of(spec: wire.PodSpec) -> tuple[Term, ...] | None:
    """Return the terms of the required node affinity; None if there is none, or if it is too long to read."""
    terms = _terms(spec)
    if terms is None or _is_too_long(terms):
        return None
    return tuple(Term(_requirements(term.match_expressions), _requirements(term.match_fields)) for term in terms)


def unmodelled_in(spec: wire.PodSpec) -> Iterable[str]:
    """Yield the constraints that fit does not look at, by their field in the pod's spec."""
    if len(spec.node_selector or ()) > MAX_REQUIREMENTS:
        yield NODE_SELECTOR
    if _is_too_long(_terms(spec) or ()):
        yield NODE_AFFINITY
    affinity = spec.affinity
    for name, part in (
        ("podAffinity", affinity and affinity.pod_affinity),
        ("podAntiAffinity", affinity and affinity.pod_anti_affinity),
    ):
        if part and part.required_during_scheduling_ignored_during_execution:
            yield name
    if any(s.when_unsatisfiable == "DoNotSchedule" for s in spec.topology_spread_constraints or ()):
        yield "topologySpreadConstraints"
    if any(v.persistent_volume_claim or v.ephemeral for v in spec.volumes or ()):
        yield "volumes"
    if any("hostPort" in port for container in spec.containers for port in container.ports or ()):
        yield "hostPorts"
    if spec.resource_claims:
        yield "resourceClaims"


def unread_in(unmodelled: Sequence[str]) -> str:
    """Say which selectors of a pod are too long to read; empty if none is. `unmodelled`: its `unmodelled_in`."""
    names = [name for name in unmodelled if name in (NODE_SELECTOR, NODE_AFFINITY)]
    bounds = f"more than {MAX_REQUIREMENTS} labels or expressions, or more than {MAX_VALUES} values"
    return f"{' and '.join(names)}: {bounds}, so only the scheduler looks at it" if names else ""


def _terms(spec: wire.PodSpec) -> Sequence[wire.NodeSelectorTerm] | None:
    node = spec.affinity.node_affinity if spec.affinity else None
    required = node.required_during_scheduling_ignored_during_execution if node else None
    return None if required is None else required.node_selector_terms


def _is_too_long(terms: Sequence[wire.NodeSelectorTerm]) -> bool:
    parts = [part for term in terms for part in (*(term.match_expressions or ()), *(term.match_fields or ()))]
    # A term without expressions matches no node, and costs as much as an expression.
    too_many = max(len(terms), len(parts)) > MAX_REQUIREMENTS
    return too_many or sum(len(part.values or ()) for part in parts) > MAX_VALUES


def _requirements(expressions: Sequence[wire.SelectorRequirement] | None) -> tuple[Requirement, ...]:
    return tuple(Requirement(e.key, e.operator, tuple(e.values or ())) for e in expressions or ())
