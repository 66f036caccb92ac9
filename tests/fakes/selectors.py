"""Field and label selectors as predicates, as far as the fake API server needs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

JsonObject = dict[str, Any]
Predicate = Callable[[JsonObject], bool]

_SET = re.compile(r"^\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")


def selected(field_selector: str, label_selector: str) -> Predicate:
    """Return whether an object matches both; empty selectors match all."""
    fields = [_field_term(term) for term in field_selector.split(",") if term]
    labels = [_label_term(term) for term in re.split(r",(?![^(]*\))", label_selector) if term]
    return lambda item: all(term(item) for term in (*fields, *labels))


def _field_term(term: str) -> Predicate:
    path, equal, value = _split(term)
    return lambda item: (_field(item, path) == value) == equal


def _field(item: JsonObject, path: str) -> str:
    found: Any = item
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def _label_term(term: str) -> Predicate:
    match = _SET.match(term)
    if match:
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda item: _labels(item).get(key) in values
        return lambda item: _labels(item).get(key) not in values
    if "=" in term:
        key, equal, value = _split(term)
        return lambda item: (_labels(item).get(key) == value) == equal
    key = term.strip()
    if key.startswith("!"):
        return lambda item: key[1:] not in _labels(item)
    return lambda item: key in _labels(item)


def _labels(item: JsonObject) -> dict[str, str]:
    return item.get("metadata", {}).get("labels") or {}


def _split(term: str) -> tuple[str, bool, str]:
    """Split a=b, a==b or a!=b into the name, whether it must be equal, and the value."""
    name, operator, value = re.split(r"(!=|==|=)", term, maxsplit=1)
    return name.strip(), operator != "!=", value.strip()
