"""A small judge of objects by a structural schema: what the API server checks before the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def violations(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Where and how the value departs from the schema; unknown fields count."""
    return list(_violations(schema, value, path))


def _violations(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, _TYPES[schema["type"]]) or isinstance(value, bool) != (schema["type"] == "boolean"):
        yield f"{path}: {value!r} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    yield from (f"{path}: {value!r} breaks {bound}" for bound in _broken_bounds(schema, value))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _violations(schema["items"], item, f"{path}[{index}]")
    if isinstance(value, dict):
        yield from _fields(schema, value, path)


def _broken_bounds(schema: dict[str, Any], value: Any) -> Iterator[str]:
    size = value if isinstance(value, int) else len(value)
    for bound in ("minimum", "minLength"):
        if size < schema.get(bound, size):
            yield f"{bound} {schema[bound]}"
    for bound in ("maximum", "maxLength", "maxItems", "maxProperties"):
        if size > schema.get(bound, size):
            yield f"{bound} {schema[bound]}"


def _fields(schema: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value)
    for name, item in value.items():
        inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if inner is None:
            yield f"{path}.{name} is unknown"
        else:
            yield from _violations(inner, item, f"{path}.{name}")
