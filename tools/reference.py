"""The API reference for people, from the same types as the CRD: docs/reference/api.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from computepool.model.api import API_VERSION, KIND, ComputePool
from tools.crd import Schema, plain

EXAMPLE = Path(__file__).resolve().parent.parent / "tests/manifests/good/full.yaml"

_INTRO = f"""<!-- Made by `make generate` from operator/computepool/model/api: do not edit. -->
# {KIND} reference

`apiVersion: {API_VERSION}`, `kind: {KIND}`; cluster-scoped; short name `cpool`. `kubectl explain cpool.spec` and so on
show the same text without the defaults; `kubectl get cpool NAME --output yaml` shows the defaults that a pool has.

Durations are whole seconds, shares are whole percents, money is a decimal in quotes. The API server refuses a manifest
that breaks a rule, with the message given here. It also refuses a field that does not exist. Only the running operator
can see some problems (no node matches, another pool selects the same pods); it reports them in `status.conditions`.

A pool with every field:

```yaml
"""


@dataclass(frozen=True)
class _Section:
    """One type of the API, and all places in the object where it is found."""

    name: str
    paths: tuple[str, ...]
    schema: Schema


def render() -> str:
    """The reference as Markdown."""
    model = ComputePool.model_json_schema(by_alias=True)
    definitions: dict[str, Schema] = model["$defs"]
    parts = [_INTRO + EXAMPLE.read_text(encoding="utf-8").strip() + "\n```\n", _rules(model)]
    for section in _sections(model, definitions):
        if section.paths[0] in ("spec", "status"):
            parts.append(f"## {section.paths[0]}\n")
        parts.append(_render_section(section, definitions))
    return "\n".join(parts)


def _sections(model: Schema, definitions: dict[str, Schema]) -> Iterator[_Section]:
    found: dict[str, list[str]] = {}
    for root in ("spec", "status"):
        for name, path in _walk(model["properties"][root], root, definitions):
            found.setdefault(name, []).append(path)
    return (_Section(name, tuple(paths), definitions[name]) for name, paths in found.items())


def _walk(schema: Schema, path: str, definitions: dict[str, Schema]) -> Iterator[tuple[str, str]]:
    """All types below the schema, depth first, with their paths: `spec.providers[]` is an item of the list."""
    name = _reference(schema)
    if name is None or "properties" not in definitions[name]:
        return
    yield name, path
    for field, one in definitions[name]["properties"].items():
        inner = _not_null(one)
        yield from _walk(inner, f"{path}.{field}", definitions)
        if "items" in inner:
            yield from _walk(inner["items"], f"{path}.{field}[]", definitions)


def _render_section(section: _Section, definitions: dict[str, Schema]) -> str:
    schema = section.schema
    required = schema.get("required", [])
    rows = [
        f"| `{name}` | {_type(one, definitions)} | {_default(one, name in required, definitions)} "
        f"| {_bounds(_not_null(one))} | {_cell(_meaning(one, definitions))} |"
        for name, one in schema["properties"].items()
    ]
    table = ["| Field | Type | Default | Bounds | Meaning |", "|---|---|---|---|---|", *rows]
    found = ", ".join(f"`{path}`" for path in section.paths)
    heading = f"### {section.name}\n\n{_text(plain(schema['description']))}\n\nFound in {found}.\n"
    return "\n".join([heading, *table, "", *([_rules(schema)] if _rules(schema) else [])])


def _rules(schema: Schema) -> str:
    rules = schema.get("x-kubernetes-validations", [])
    if not rules:
        return ""
    return "\n".join(["Rules:", "", *(f"- {_where(one)}{_text(one['message'])}" for one in rules), ""])


def _where(rule: Schema) -> str:
    return f"`{rule['fieldPath'].removeprefix('.')}`: " if "fieldPath" in rule else ""


def _reference(schema: Schema) -> str | None:
    reference = schema.get("$ref")
    return None if reference is None else str(reference).rpartition("/")[2]


def _not_null(schema: Schema) -> Schema:
    options = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    return options[0] if options else schema


def _type(schema: Schema, definitions: dict[str, Schema]) -> str:
    schema = _not_null(schema)
    name = _reference(schema)
    if name is not None:
        options = definitions[name].get("enum")
        return " or ".join(f"`{one}`" for one in options) if options else f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'], definitions)}"
    if schema.get("type") == "object":
        return f"map of {_type(schema['additionalProperties'], definitions)}"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def _default(schema: Schema, required: bool, definitions: dict[str, Schema]) -> str:
    if required:
        return "required"
    default: Any = schema.get("default")
    name = _reference(_not_null(schema))
    if default in (None, "", [], {}) or (name is not None and "properties" in definitions[name]):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _meaning(schema: Schema, definitions: dict[str, Schema]) -> str:
    """The field's description; pydantic leaves it out where it is word for word that of its type."""
    own = schema.get("description")
    return str(own or definitions[_reference(_not_null(schema)) or ""]["description"])


def _bounds(schema: Schema) -> str:
    """The bounds in words: `1 to 100`, `at most 63 characters`, `at most 16 items`."""
    if "minimum" in schema or "maximum" in schema:
        low, high = schema.get("minimum"), schema.get("maximum")
        return f"{low} to {high}" if high is not None else f"at least {low}"
    for key, unit in (("maxLength", "characters"), ("maxItems", "items"), ("maxProperties", "entries")):
        if key in schema:
            return f"at most {schema[key]} {unit}"
    return ""


def _cell(text: str) -> str:
    return _text(plain(text)).replace("|", "\\|").replace("\n", "<br>")


def _text(text: str) -> str:
    """Text in which `<name>` is no HTML tag, save in code, where it is none anyway."""
    return re.sub(r"`[^`]*`|<", lambda found: "&lt;" if found[0] == "<" else found[0], text)
