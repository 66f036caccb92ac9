"""Label selectors, in the form that Kubernetes uses."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from computepool.model.api.base import LABEL_VALUE, QUALIFIED_NAME, ApiModel, Key, LabelValue, fits, rule
from computepool.model.labels import Requirement, Selector

KEY_HELP = (
    "a label key is an optional domain and a slash, then up to 63 letters, digits, '-', '_' or '.', "
    "such as eks.amazonaws.com/nodegroup: correct the key"
)
VALUE_HELP = (
    "a label value is empty or up to 63 letters, digits, '-', '_' or '.', starting and ending with a letter or digit: "
    "correct the value"
)


class SelectorOperator(StrEnum):
    """How a label's value is compared with the listed values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorRequirement(ApiModel):
    """One condition on a label."""

    key: Key
    """The label's key."""
    operator: SelectorOperator
    """In and NotIn compare the label's value with `values`; Exists and DoesNotExist look at the key alone."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=16)] = ()
    """The values for In and NotIn (at least one); must be left out with Exists and DoesNotExist."""

    @rule(field="key", cel=f"self.key.matches(r'{QUALIFIED_NAME}')", message=KEY_HELP, shows="self.key")
    def _key_is_qualified(self) -> bool:
        return fits(QUALIFIED_NAME, self.key)

    @rule(
        field="values",
        cel=f"!has(self.values) || self.values.all(v, v.matches(r'{LABEL_VALUE}'))",
        message=VALUE_HELP,
    )
    def _values_are_label_values(self) -> bool:
        return all(fits(LABEL_VALUE, value) for value in self.values)

    @rule(
        field="values",
        cel="!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
        message="In and NotIn compare with a list of values: add at least one value, or use Exists or DoesNotExist",
    )
    def _comparison_has_values(self) -> bool:
        return self.operator not in (SelectorOperator.IN, SelectorOperator.NOT_IN) or bool(self.values)

    @rule(
        field="values",
        cel="self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
        message="Exists and DoesNotExist look at the key alone: remove the values, or use In or NotIn",
    )
    def _existence_has_no_values(self) -> bool:
        return self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN) or not self.values

    def compiled(self) -> Requirement:
        """Return the requirement in the form that decisions work with."""
        return Requirement(self.key, str(self.operator), self.values)

    @classmethod
    def from_compiled(cls, requirement: Requirement) -> SelectorRequirement:
        """The inverse of `compiled`."""
        operator = SelectorOperator(requirement.operator)
        return cls(key=requirement.key, operator=operator, values=requirement.values)


# Conditions are compared in pairs: the API server does not allow the cost of a comparison of all conditions at once.
# The rules of a requirement refuse missing and superfluous values, so such requirements pass here.
_NO_CONTRADICTION = """
!has(self.matchExpressions) || self.matchExpressions.all(e,
  (!has(self.matchLabels) || !(e.key in self.matchLabels) || (
    e.operator == 'In' ? !has(e.values) || size(e.values) == 0 || self.matchLabels[e.key] in e.values
    : e.operator == 'NotIn' ? !has(e.values) || !(self.matchLabels[e.key] in e.values)
    : e.operator == 'Exists'))
  && self.matchExpressions.all(o, o.key != e.key || (
    e.operator == 'In' ? !has(e.values) || size(e.values) == 0 || (
      o.operator == 'In' ? !has(o.values) || size(o.values) == 0 || e.values.exists(v, v in o.values)
      : o.operator == 'NotIn' ? !has(o.values) || e.values.exists(v, !(v in o.values))
      : o.operator == 'Exists')
    : e.operator == 'DoesNotExist' ? o.operator in ['NotIn', 'DoesNotExist']
    : true)))
"""


class LabelSelector(ApiModel):
    """Selects objects by their labels. All conditions must hold. A selector without conditions selects everything."""

    match_labels: Annotated[dict[Key, LabelValue], Field(max_length=16)] = Field(default_factory=dict)
    """Labels that an object must have, with exactly these values."""
    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(max_length=16)] = ()
    """Conditions on labels that `matchLabels` can't express."""

    @rule(
        field="matchLabels",
        cel=f"!has(self.matchLabels) || self.matchLabels.all(k, size(k) <= 253 && k.matches(r'{QUALIFIED_NAME}'))",
        message=KEY_HELP,
    )
    def _keys_are_qualified(self) -> bool:
        return all(fits(QUALIFIED_NAME, key) for key in self.match_labels)

    @rule(
        field="matchLabels",
        cel=f"!has(self.matchLabels) || self.matchLabels.all(k, self.matchLabels[k].matches(r'{LABEL_VALUE}'))",
        message=VALUE_HELP,
    )
    def _values_are_label_values(self) -> bool:
        return all(fits(LABEL_VALUE, value) for value in self.match_labels.values())

    @rule(
        cel=_NO_CONTRADICTION,
        message="two conditions on the same key exclude each other, so the selector would never match: remove or "
        "correct one of them",
    )
    def _has_no_contradiction(self) -> bool:
        compiled = self.compiled()
        return not compiled.excludes(compiled)

    @property
    def empty(self) -> bool:
        """Whether the selector has no condition, and so selects everything."""
        return not self.match_labels and not self.match_expressions

    def compiled(self) -> Selector:
        """Return the selector in the form that decisions work with: labels by key, then expressions as written."""
        exact = (Requirement(key, "In", (value,)) for key, value in sorted(self.match_labels.items()))
        return Selector((*exact, *(expression.compiled() for expression in self.match_expressions)))
