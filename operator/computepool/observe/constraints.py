"""Reads what a pod demands of its node: node selector, node affinity, and by name the constraints that fit ignores.

Any user may write a selector with a hundred thousand parts, and a pass compares each part with each node. So a selector
beyond the bounds here is not read. It counts as a constraint that fit does not model, and that is told.
"""

from collections.abc import Sequence
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
    labels = spec.node_selector
    return tuple(sorted(labels.items())) if labels and len(labels) <= MAX_REQUIREMENTS else ()


def affinity_of(spec: wire.PodSpec) -> tuple[Term, ...] | None:
    """Return the terms of the required node affinity; None if there is none, or if it is too long to read."""
    terms = _terms(spec.affinity)
    if terms is None or _is_too_long(terms):
        return None
    return tuple(Term(_requirements(term.match_expressions), _requirements(term.match_fields)) for term in terms)


def unmodelled_in(spec: wire.PodSpec) -> tuple[str, ...]:
    """Return the constraints that fit does not look at, by their field in the pod's spec."""
    # Each pod of a list passes here, and most have none: a list comprehension costs half of a generator.
    names = []
    if spec.node_selector and len(spec.node_selector) > MAX_REQUIREMENTS:
        names.append(NODE_SELECTOR)
    if spec.affinity:
        names += _unmodelled_affinity(spec.affinity)
    if "DoNotSchedule" in [s.when_unsatisfiable for s in spec.topology_spread_constraints or ()]:
        names.append("topologySpreadConstraints")
    if [v for v in spec.volumes or () if v.persistent_volume_claim or v.ephemeral]:
        names.append("volumes")
    if [port for container in spec.containers for port in container.ports or () if port.host_port]:
        names.append("hostPorts")
    if spec.resource_claims:
        names.append("resourceClaims")
    return tuple(names)


def unread_in(unmodelled: Sequence[str]) -> str:
    """Say which selectors of a pod are too long to read; empty if none is. `unmodelled`: its `unmodelled_in`."""
    names = [name for name in unmodelled if name in (NODE_SELECTOR, NODE_AFFINITY)]
    if not names:
        return ""
    bounds = f"more than {MAX_REQUIREMENTS} labels or expressions, or more than {MAX_VALUES} values"
    return f"{' and '.join(names)}: {bounds}, so only the scheduler looks at it"


def _unmodelled_affinity(affinity: wire.Affinity) -> list[str]:
    names = [NODE_AFFINITY] if _is_too_long(_terms(affinity) or ()) else []
    pods = (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity))
    return names + [name for name, part in pods if part and part.required_during_scheduling_ignored_during_execution]


def _terms(affinity: wire.Affinity | None) -> Sequence[wire.NodeSelectorTerm] | None:
    node = affinity.node_affinity if affinity else None
    required = node.required_during_scheduling_ignored_during_execution if node else None
    return None if required is None else required.node_selector_terms


def _is_too_long(terms: Sequence[wire.NodeSelectorTerm]) -> bool:
    parts = [part for term in terms for part in (*(term.match_expressions or ()), *(term.match_fields or ()))]
    # A term without expressions matches no node, and costs as much as an expression.
    too_many = max(len(terms), len(parts)) > MAX_REQUIREMENTS
    return too_many or sum(len(part.values or ()) for part in parts) > MAX_VALUES


def _requirements(expressions: Sequence[wire.SelectorRequirement] | None) -> tuple[Requirement, ...]:
    return tuple(Requirement(e.key, e.operator, tuple(e.values or ())) for e in expressions or ())
