"""Label selectors and node affinity, with the API server's and the scheduler's meaning.

Sources: k8s.io/apimachinery labels.Requirement, component-helpers nodeaffinity.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

Labels = Mapping[str, str]

_SET_BASED: Final = frozenset(("In", "NotIn", "Exists", "DoesNotExist"))


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

    def excludes(self, other: "Requirement") -> bool:
        """Say whether no labels can satisfy both this requirement and the other.

        Gt and Lt are not compared: they count as excluding no labels.
        """
        if self.key != other.key or not _SET_BASED.issuperset((self.operator, other.operator)):
            return False
        # Apart from the named values, a label can be absent, or have a value that neither names: none has a space.
        candidates: list[Labels] = [{}, *({self.key: value} for value in (" ", *self.values, *other.values))]
        return not any(self.matches(labels) and other.matches(labels) for labels in candidates)

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
    """A label selector: all requirements have to hold. Without requirements it selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Say whether the labels satisfy every requirement."""
        # A pass asks this about every node, and about every provider: a generator costs twice as much as a loop, and
        # nearly all requirements name the values that a label may have.
        for requirement in self.requirements:
            if requirement.operator == "In":
                if labels.get(requirement.key) not in requirement.values:
                    return False
            elif not requirement.matches(labels):
                return False
        return True

    def excludes(self, other: "Selector") -> bool:
        """Say whether a requirement of this selector excludes a requirement of the other: no labels match both.

        Requirements are compared in pairs, so three that only together match no labels are not found.
        """
        return any(mine.excludes(theirs) for mine in self.requirements for theirs in other.requirements)


class Term(msgspec.Struct, frozen=True, gc=False):
    """One node selector term of a required node affinity: expressions over labels and over metadata.name, all ANDed."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, name: str, labels: Labels) -> bool:
        """Say whether the node satisfies the term; an empty term matches no node, as in the scheduler."""
        if not self.expressions and not self.fields:
            return False
        # A pass asks this about every node and every pod with an affinity of its own: loops, as in `Selector`.
        for need in self.expressions:
            if not need.matches(labels):
                return False
        for need in self.fields:
            if need.key != "metadata.name" or not need.matches({"metadata.name": name}):
                return False
        return True
