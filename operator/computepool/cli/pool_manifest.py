"""A ComputePool as a person writes it: stricter than the operator reads it, as the API server is."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import ValidationError

from computepool.model.api import ComputePool, InvalidPool, PoolSpec

Json = dict[str, Any]
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")


def pool_in(found: Mapping[str, Any]) -> ComputePool:
    """Read a pool from a manifest, without its status. Raises InvalidPool with the first problem.

    A field that does not exist is a problem: the API server refuses it too, or drops it.
    """
    for path, problem in _unknown_fields(found):
        raise InvalidPool(path, problem)
    for field in ("metadata", "spec"):
        if not isinstance(found.get(field), dict):
            raise InvalidPool(field, "is missing" if found.get(field) is None else "must be a mapping")
    name = found["metadata"].get("name")
    if name is None:
        raise InvalidPool("metadata.name", "is missing: write the pool's name")
    try:
        return ComputePool.from_object({"metadata": {"name": name}, "spec": _without_nulls(found["spec"])})
    except InvalidPool as invalid:
        raise InvalidPool(invalid.path, _plainer(invalid)) from None


def _plainer(invalid: InvalidPool) -> str:
    """Say what is wrong with the value that is there, in place of the checker's `Input should be`."""
    cause = invalid.__cause__
    if not isinstance(cause, ValidationError):
        return invalid.problem
    first = cause.errors(include_url=False)[0]
    if first["type"] == "missing":
        return "is missing: write this field"
    if not invalid.problem.startswith("Input "):
        return invalid.problem
    wanted = invalid.problem.removeprefix("Input ").replace("a valid tuple", "a list")
    written = first["input"]
    if isinstance(written, bool) and first["type"] == "enum":
        bare = "On" if written else "Off"
        return f'{wanted}. YAML reads a bare {bare} as {str(written).lower()}: write "{bare}" in quotes if you mean it'
    return f"{wanted}, and is {json.dumps(written)}" if isinstance(written, str | int | float) else wanted


def _without_nulls(value: Any) -> Any:
    """Leave out fields that are null, as the API server does before it sets defaults."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nulls(below) for name, below in value.items() if below is not None}
    return value


def _unknown_fields(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield the path of each field that does not exist, and what to write in its place."""
    for field in found:
        if field not in _TOP:
            yield str(field), _unknown(str(field), _TOP)
    schema = _schema()
    yield from _unknown_below("spec", found.get("spec"), schema, schema["$defs"])


@cache
def _schema() -> Json:
    return PoolSpec.model_json_schema()


def _unknown_below(path: str, value: Any, schema: Json, types: Json) -> Iterable[tuple[str, str]]:
    """Yield the same below a value. `schema`: its own; `types`: the schemas that others refer to."""
    schema = _resolved(schema, types)
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from _unknown_below(f"{path}[{position}]", item, schema.get("items", {}), types)
    elif isinstance(value, dict) and "properties" in schema:
        fields = schema["properties"]
        for name, below in value.items():
            if name in fields:
                yield from _unknown_below(f"{path}.{name}", below, fields[name], types)
            else:
                yield f"{path}.{name}", _unknown(str(name), tuple(fields))


def _resolved(schema: Json, types: Json) -> Json:
    """Return the schema that a reference, or an optional field, leads to."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolved(options[0], types)
    reference = schema.get("$ref")
    return schema if reference is None else _resolved(types[reference.rpartition("/")[2]], types)


def _unknown(name: str, fields: tuple[str, ...]) -> str:
    alike = {field.lower(): field for field in fields}
    near = get_close_matches(name.lower().replace("_", ""), alike, n=1)
    hint = f"write {alike[near[0]]}" if near else f"it may have {', '.join(sorted(fields))}"
    return f"there is no such field: {hint}"
