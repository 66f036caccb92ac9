"""The CRD is structural, described and bounded everywhere, and the chart's copy is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tools import crd

# Source: Kubernetes documentation, "Specifying a structural schema" and "Unsupported fields".
FORBIDDEN = {"$ref", "$defs", "definitions", "title", "anyOf", "oneOf", "allOf", "not", "uniqueItems", "propertyNames"}
FORBIDDEN |= {"patternProperties", "const", "exclusiveMinimum", "exclusiveMaximum", "prefixItems"}

Found = Iterator[tuple[str, dict[str, Any]]]


def nodes(schema: dict[str, Any], path: str = "") -> Found:
    """Every schema within the schema, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def inner_nodes() -> Found:
    return ((path, schema) for path, schema in nodes(crd.schema()) if path and not path.startswith(".metadata"))


def test_every_part_of_the_schema_is_structural() -> None:
    for path, schema in nodes(crd.schema()):
        assert isinstance(schema["type"], str), path
        assert not FORBIDDEN & schema.keys(), path
        assert not ("properties" in schema and "additionalProperties" in schema), path


def test_every_field_is_described() -> None:
    undescribed = [path for path, schema in inner_nodes() if not path.endswith("[]") and not schema.get("description")]
    assert undescribed == []


def test_every_list_map_and_text_of_the_spec_is_bounded() -> None:
    """Without bounds the API server could not tell what a rule costs, and a pool could grow without end."""
    for path, schema in inner_nodes():
        if not path.startswith(".spec"):
            continue
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
        if schema["type"] == "string":
            # The API server knows how long the text of a time can be.
            assert schema.keys() & {"maxLength", "enum"} or schema.get("format") == "date-time", path
        if schema["type"] == "integer":
            assert schema.keys() >= {"minimum", "maximum"}, path


def test_there_are_no_floats() -> None:
    assert not [path for path, schema in nodes(crd.schema()) if schema["type"] == "number"]


def test_the_status_has_no_defaults() -> None:
    assert not [path for path, schema in inner_nodes() if path.startswith(".status") and "default" in schema]


def test_lists_say_how_they_are_merged() -> None:
    keys = {path: schema.get("x-kubernetes-list-map-keys") for path, schema in inner_nodes() if "items" in schema}
    assert keys[".status.conditions"] == ["type"]
    assert keys[".status.providers"] == ["name"]
    assert keys[".spec.providers"] is None, "an order of preference can't be merged item by item"
    assert all("x-kubernetes-list-type" in schema for _, schema in inner_nodes() if "items" in schema)


def test_every_rule_says_what_to_change() -> None:
    rules = [one for _, schema in nodes(crd.schema()) for one in schema.get("x-kubernetes-validations", [])]
    assert rules
    for one in rules:
        assert ": " in one["message"], "a reason, a colon, and what to do"
        assert "\n" not in one["rule"] + one["message"]
        assert len(one["message"]) <= 2048


def test_printer_columns_tell_the_story() -> None:
    (version,) = crd.crd()["spec"]["versions"]
    shown = [column["name"] for column in version["additionalPrinterColumns"] if column["priority"] == 0]
    assert shown == ["Mode", "Primary", "Saturated", "Bursting", "Pending", "Health", "Cost/h", "Age"]


def test_the_manifest_reads_back_as_the_definition() -> None:
    assert yaml.safe_load(crd.render()) == crd.crd()


def test_the_charts_copy_has_nothing_that_helm_would_read_as_its_own() -> None:
    body = crd.render_chart().partition("\nspec:\n")[2]
    assert body.count("{{") == 1, "only the end of the condition that it began with"
    assert yaml.safe_load("spec:\n" + body.partition("{{")[0]) == {"spec": crd.crd()["spec"]}
