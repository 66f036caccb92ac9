"""What every API type shares: field naming, leniency, and rules stated once in CEL and once in Python."""

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
"""Taint key of quarantined nodes. Reserved: no pod may be made to tolerate it."""

MAX_MESSAGE = 1024
"""Longest message kept in status, in characters."""

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DNS_LABEL = f"^{_DNS_LABEL}$"
_NAME_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DNS_SUBDOMAIN = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
QUALIFIED_NAME = rf"^({_DNS_SUBDOMAIN}/)?{_NAME_PART}$"
"""Form of label and taint keys: an optional DNS subdomain and slash, then up to 63 characters."""
EXTENDED_RESOURCE = rf"^{_DNS_SUBDOMAIN}/{_NAME_PART}$"
"""Form of an extended resource's name: a qualified name whose domain is not optional."""
LABEL_VALUE = rf"^({_NAME_PART})?$"
DECIMAL = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
"""Form of an amount of money: no sign, no exponent, at most six digits on either side of the point."""


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text has the form of the pattern, as RE2 in the API server would see it."""
    return re.fullmatch(pattern, text) is not None


@dataclass(frozen=True)
class Rule:
    """One thing a schema can't say, for the API server (CEL) and for Python.

    `field` is the camelCase path below the object that carries the rule ("" for the object itself), `message`
    a sentence that says what to change, `shows` an optional CEL expression of a text that the message then begins with.
    """

    holds: Callable[[Any], bool]
    cel: str
    message: str
    field: str = ""
    shows: str = ""

    def schema(self) -> dict[str, str]:
        """The rule as an entry of `x-kubernetes-validations`."""
        entry = {"rule": " ".join(self.cel.split()), "message": self.message}
        if self.shows:
            # JSON's text literals are CEL's as well. Texts only: the API server's bound for string(int) is too high.
            said = json.dumps('": ' + self.message)
            entry["messageExpression"] = f"'\"' + {self.shows} + {said}"
        if self.field:
            # The API server takes no index here: the message then has to say which item.
            entry["fieldPath"] = "." + self.field.partition("[")[0]
        return entry


_Predicate = TypeVar("_Predicate", bound=Callable[[Any], bool])


def rule(*, cel: str, message: str, field: str = "", shows: str = "") -> Callable[[_Predicate], _Predicate]:
    """Make the decorated method (True: the object is fine) a `Rule` of its class, beside the CEL that says the same."""

    def mark(predicate: _Predicate) -> _Predicate:
        one = Rule(holds=predicate, cel=cel, message=message, field=field, shows=shows)
        setattr(predicate, "__rule__", one)  # noqa: B010 - functions have no such attribute for a type checker
        return predicate

    return mark


class ApiModel(BaseModel):
    """An object of the API: camelCase outside, snake_case inside, frozen.

    Unknown fields are ignored, because a newer CRD may serve objects that this code does not know entirely; a typing
    error in a manifest is refused by the API server's strict decoding instead.
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
        """Collect the methods marked by `rule`, in the order they are written."""
        cls.rules = tuple(member.__rule__ for member in vars(cls).values() if hasattr(member, "__rule__"))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The pydantic schema, with this type's rules as `x-kubernetes-validations`."""
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)["x-kubernetes-validations"] = [one.schema() for one in cls.rules]
        return schema

    @model_validator(mode="after")
    def _hold_rules(self) -> ApiModel:
        for one in self.rules:
            if not one.holds(self):
                raise PydanticCustomError("rule", one.message, {"field": one.field})
        return self

    def to_object(self) -> dict[str, Any]:
        """The object as JSON-ready dicts and lists with camelCase keys; what is None is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _to_utc_milliseconds(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _to_rfc3339(moment: datetime) -> str:
    return rfc3339(moment, "milliseconds" if moment.microsecond else "seconds")


def _cut_message(text: str) -> str:
    return cut(text, MAX_MESSAGE)


Timestamp = Annotated[
    AwareDatetime, AfterValidator(_to_utc_milliseconds), PlainSerializer(_to_rfc3339, return_type=str)
]
"""A moment in UTC, kept to the millisecond so that what is written compares equal to what is read back."""
Message = Annotated[str, BeforeValidator(_cut_message), Field(max_length=MAX_MESSAGE)]
"""Text for people; longer text is cut, never refused: a status must not fail for being talkative."""
Int = Annotated[int, Field(strict=True)]
"""An integer that is not read from text or booleans, as the API server would not either."""
MAX_COUNT = 10_000_000
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Key = Annotated[str, Field(max_length=253)]
LabelValue = Annotated[str, Field(max_length=63)]
Name = Annotated[str, Field(max_length=63)]
