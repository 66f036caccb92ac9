"""Tolerations that let a pod run on a standby provider."""

from __future__ import annotations

from enum import StrEnum

from computepool.model import taints
from computepool.model.api.base import (
    LABEL_VALUE,
    PROVIDER_KEY,
    QUALIFIED_NAME,
    UNAVAILABLE_KEY,
    ApiModel,
    Key,
    LabelValue,
    fits,
    rule,
)

CONTROL_PLANE_KEY = "node-role.kubernetes.io/control-plane"
STATE_PREFIX = "node.kubernetes.io/"
"""Taints that begin so go with a state of the node, such as not-ready."""


class TolerationOperator(StrEnum):
    """How a toleration compares with a taint's value."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class TolerationSpec(ApiModel):
    """Lets a pod onto nodes with a matching taint, like a toleration in a pod's own spec."""

    key: Key
    """The taint's key. It is required: a toleration without a key tolerates every taint, and so every node."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Equal: the taint's value must be `value`. Exists: any value matches, and `value` must be left out."""
    value: LabelValue = ""
    """The taint's value, with operator Equal."""
    effect: TaintEffect | None = None
    """The taint's effect. Left out: all effects of the key are tolerated."""

    @rule(
        field="key",
        cel="size(self.key) > 0",
        message="a toleration without a key tolerates every taint of every node: give the key of the provider's taint",
    )
    def _has_key(self) -> bool:
        return bool(self.key)

    @rule(
        field="key",
        cel=f"size(self.key) == 0 || self.key.matches(r'{QUALIFIED_NAME}')",
        message="a taint key is an optional domain and a slash, then up to 63 letters, digits, '-', '_' or '.', "
        f"such as {PROVIDER_KEY}: correct the key",
        shows="self.key",
    )
    def _key_is_qualified(self) -> bool:
        return not self.key or fits(QUALIFIED_NAME, self.key)

    @rule(
        field="key",
        cel=f"self.key != '{UNAVAILABLE_KEY}'",
        message=f"{UNAVAILABLE_KEY} marks nodes in quarantine, which no pod may tolerate: name the provider's own "
        "taint",
    )
    def _is_not_quarantine(self) -> bool:
        return self.key != UNAVAILABLE_KEY

    @rule(
        field="key",
        cel=f"!self.key.startsWith('{STATE_PREFIX}') && self.key != '{CONTROL_PLANE_KEY}'",
        message="this taint marks the state of a node, or the control plane's nodes, where the provider's pods must "
        "not go: name the provider's own taint",
        shows="self.key",
    )
    def _is_no_taint_of_kubernetes(self) -> bool:
        return not self.key.startswith(STATE_PREFIX) and self.key != CONTROL_PLANE_KEY

    @rule(
        field="value",
        cel=f"!has(self.value) || self.value.matches(r'{LABEL_VALUE}')",
        message="a taint value is empty or up to 63 letters, digits, '-', '_' or '.', starting and ending with a "
        "letter or digit: correct the value",
        shows="self.value",
    )
    def _value_is_label_value(self) -> bool:
        return fits(LABEL_VALUE, self.value)

    @rule(
        field="value",
        cel="!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
        message="Exists tolerates any value of the key: remove the value, or use operator Equal",
        shows="self.value",
    )
    def _exists_has_no_value(self) -> bool:
        return self.operator is not TolerationOperator.EXISTS or not self.value

    def compiled(self) -> taints.Toleration:
        """Return the toleration in the form that decisions work with."""
        return taints.Toleration(self.key, str(self.operator), self.value, str(self.effect or ""))

    @classmethod
    def from_compiled(cls, toleration: taints.Toleration) -> TolerationSpec:
        """The inverse of `compiled`."""
        operator = TolerationOperator(toleration.operator or "Equal")
        effect = TaintEffect(toleration.effect) if toleration.effect else None
        return cls(key=toleration.key, operator=operator, value=toleration.value, effect=effect)
