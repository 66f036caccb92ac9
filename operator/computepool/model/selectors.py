"""Label selectors, node affinity, taints and tolerations, with the API server's and the scheduler's meaning.

Sources: k8s.io/apimachinery labels.Requirement, component-helpers nodeaffinity, core/v1 Toleration.ToleratesTaint.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

Labels = Mapping[str, str]


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One expression over labels: `key operator values`. Operators: In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Say whether the labels satisfy it; NotIn also matches where the label is absent."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return self._compares(value)
        return False

    def _compares(self, value: str | None) -> bool:
        if value is None or len(self.values) != 1:
            return False
        left, right = _integer(value), _integer(self.values[0])
        if left is None or right is None:
            return False
        return left > right if self.operator == "Gt" else left < right


def _integer(text: str) -> int | None:
    # As strconv.ParseInt reads it; int() would also take 1_000, which is a valid label value.
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,19}", text, re.ASCII) else None


class Selector(msgspec.Struct, frozen=True, gc=False):
    """A label selector: all requirements hold; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Say whether the labels satisfy every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)


class _Expression(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def operator(self) -> str: ...
    @property
    def values(self) -> Sequence[str]: ...


class _LabelSelector(Protocol):
    @property
    def match_labels(self) -> Mapping[str, str]: ...
    @property
    def match_expressions(self) -> Sequence[_Expression]: ...


def compile_selector(selector: _LabelSelector | None) -> Selector:
    """Turn the API's LabelSelector into requirements, in a stable order; None selects everything."""
    if selector is None:
        return Selector()
    labels = [Requirement(key, "In", (value,)) for key, value in sorted(selector.match_labels.items())]
    expressions = [Requirement(e.key, str(e.operator), tuple(e.values)) for e in selector.match_expressions]
    return Selector((*labels, *expressions))


class Term(msgspec.Struct, frozen=True, gc=False):
    """One node selector term of a required node affinity: expressions over labels and over metadata.name, all ANDed."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, name: str, labels: Labels) -> bool:
        """Say whether the node satisfies the term; an empty term matches no node, as in the scheduler."""
        if not self.expressions and not self.fields:
            return False
        return all(e.matches(labels) for e in self.expressions) and all(
            f.key == "metadata.name" and f.matches({"metadata.name": name}) for f in self.fields
        )


class Taint(msgspec.Struct, frozen=True, gc=False):
    """A node's taint."""

    key: str
    value: str = ""
    effect: str = ""


class Toleration(msgspec.Struct, frozen=True, gc=False):
    """A pod's toleration. An empty key with Exists tolerates every taint; an empty effect, every effect."""

    key: str = ""
    operator: str = ""
    """Equal or Exists; empty is Equal, and kept as it is, so that the list can be written back unchanged."""
    value: str = ""
    effect: str = ""
    seconds: int | None = None
    """tolerationSeconds; what it limits happens to running pods only."""

    def tolerates(self, taint: Taint) -> bool:
        """Say whether it covers the taint (core/v1 Toleration.ToleratesTaint)."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.operator in ("", "Equal") and self.value == taint.value


def keeps_off(taint: Taint) -> bool:
    """Say whether the taint keeps new pods off its node; PreferNoSchedule only asks."""
    return taint.effect in ("NoSchedule", "NoExecute")


def passing(taint: Taint) -> bool:
    """Say whether the taint stands for a state of the node (not ready, cordoned, under pressure) and goes with it."""
    return taint.key.startswith(("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"))


def tolerated(taints: Sequence[Taint], tolerations: Sequence[Toleration]) -> bool:
    """Say whether the tolerations cover every taint that keeps pods off."""
    return all(not keeps_off(taint) or any(t.tolerates(taint) for t in tolerations) for taint in taints)
