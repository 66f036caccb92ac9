"""The base of all API types: field names, leniency, and rules that are stated once in CEL and once in Python."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError

from computepool.model.text import cut, rfc3339

GROUP = "computepool.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ComputePool"
PLURAL = "computepools"
PROVIDER_KEY = f"{GROUP}/provider"
"""Default taint (and usual label) key of a standby provider's nodes; its value is the provider's name."""
UNAVAILABLE_KEY = f"{GROUP}/unavailable"
"""Taint key of quarantined nodes. It is reserved: the operator never makes a pod tolerate it."""

MAX_MESSAGE = 1024
"""Longest message kept in status, in characters."""

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DNS_LABEL = f"^{_DNS_LABEL}$"
_NAME_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_SUBDOMAIN = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
QUALIFIED_NAME = rf"^({_DNS_SUBDOMAIN}/)?{_NAME_PART}$"
"""Form of label and taint keys: an optional DNS subdomain and slash, then up to 63 characters."""
KEY_OR_PREFIX = rf"^({_DNS_SUBDOMAIN}/[*]?|({_DNS_SUBDOMAIN}/)?{_NAME_PART}([-_.]*[*])?)$"
"""Form of a taint key, or of the beginning of taint keys: it ends with a slash or an asterisk."""
EXTENDED_RESOURCE = rf"^{_DNS_SUBDOMAIN}/{_NAME_PART}$"
"""Form of an extended resource's name: a qualified name with a domain."""
LABEL_VALUE = rf"^({_NAME_PART})?$"
DECIMAL = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
"""Form of an amount of money: no sign, no exponent, at most six digits on either side of the point."""


def fits(pattern: str, text: str) -> bool:
    """Return whether the whole text matches the pattern, as RE2 in the API server would."""
    return re.fullmatch(pattern, text) is not None


@dataclass(frozen=True)
class Rule:
    """A rule that a schema can't express, for the API server (CEL) and for Python.

    `field` is the camelCase path below the object that carries the rule ("" for the object itself). `message` is a
    sentence that says what to change. `shows` is an optional CEL expression; its text then begins the message.
    """

    holds: Callable[[Any], bool]
    cel: str
    message: str
    field: str = ""
    shows: str = ""

    def schema(self) -> dict[str, str]:
        """Return the rule as an entry of `x-kubernetes-validations`."""
        entry = {"rule": " ".join(self.cel.split()), "message": self.message}
        if self.shows:
            # A JSON string is a valid CEL string. Only texts are shown: the API server estimates string(int) too high.
            said = json.dumps('": ' + self.message)
            entry["messageExpression"] = f"'\"' + {self.shows} + {said}"
        if self.field:
            # The API server accepts no index here, so the message has to say which item is wrong.
            entry["fieldPath"] = "." + self.field.partition("[")[0]
        return entry


_Predicate = TypeVar("_Predicate", bound=Callable[[Any], bool])


def rule(*, cel: str, message: str, field: str = "", shows: str = "") -> Callable[[_Predicate], _Predicate]:
    """Make the decorated method a `Rule` of its class. It returns True for a valid object, as its CEL does."""

    def mark(predicate: _Predicate) -> _Predicate:
        made = Rule(holds=predicate, cel=cel, message=message, field=field, shows=shows)
        setattr(predicate, "__rule__", made)  # noqa: B010 - functions have no such attribute for a type checker
        return predicate

    return mark


class ApiModel(BaseModel):
    """An object of the API: frozen, with camelCase names in JSON and snake_case names in Python.

    Unknown fields are ignored, because a newer CRD may serve objects with fields that this code does not know. The API
    server's strict decoding refuses misspelt fields in manifests.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Collect the methods that `rule` decorates, in the order of the class bodies, inherited methods first."""
        members = (member for kind in reversed(cls.__mro__) for member in vars(kind).values())
        cls.rules = tuple(member.__rule__ for member in members if hasattr(member, "__rule__"))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the pydantic schema, with this type's rules as `x-kubernetes-validations`."""
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = [
                api_rule.schema() for api_rule in cls.rules
            ]
        return schema

    @model_validator(mode="after")
    def _hold_rules(self) -> ApiModel:
        for api_rule in self.rules:
            if not api_rule.holds(self):
                raise PydanticCustomError("rule", api_rule.message, {"field": api_rule.field})
        return self

    def to_object(self) -> dict[str, Any]:
        """Return the object as JSON-ready dicts and lists with camelCase keys. Fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _to_utc_milliseconds(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        # Near the years 1 and 9999, a time with an offset is a time that UTC does not have.
        raise ValueError("is no time that can be written in UTC") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _to_rfc3339(moment: datetime) -> str:
    return rfc3339(moment, "milliseconds" if moment.microsecond else "seconds")


def _cut_message(text: str) -> str:
    return cut(text, MAX_MESSAGE)


Timestamp = Annotated[
    AwareDatetime, AfterValidator(_to_utc_milliseconds), PlainSerializer(_to_rfc3339, return_type=str)
]
"""A moment in UTC. It has whole milliseconds, so that a written value equals the value that is read back."""
Message = Annotated[str, BeforeValidator(_cut_message), Field(max_length=MAX_MESSAGE)]
"""Text for people. Longer text is cut and not refused, so that a long message never keeps a status from being
stored."""
Int = Annotated[int, Field(strict=True)]
"""An integer. Text and booleans are refused, as the API server refuses them."""
MAX_COUNT = 10_000_000
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Key = Annotated[str, Field(max_length=253)]
LabelValue = Annotated[str, Field(max_length=63)]
Name = Annotated[str, Field(max_length=63)]
