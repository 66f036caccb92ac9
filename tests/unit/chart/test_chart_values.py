"""The chart's values: each has a comment and a rule, and no object of the schema accepts unknown fields."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[3] / "charts" / "computepool"
VALUES = (CHART / "values.yaml").read_text()
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# Helm gives it to every chart; see its description in the schema.
NOT_A_VALUE = {"global"}

Json = dict[str, Any]


def _objects(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every object that the schema describes field by field."""
    if "properties" in schema:
        yield path, schema
    for name, value in schema.get("properties", {}).items():
        yield from _objects(value, f"{path}.{name}" if path else name)
    if isinstance(schema.get("items"), dict):
        yield from _objects(schema["items"], f"{path}[]")


def _values_of(schema: Json, values: Json, path: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the paths of the values that have a rule of their own, and whether values.yaml gives them."""
    for name, value in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        if here in NOT_A_VALUE:
            continue
        yield here, name in values
        if "required" in value and isinstance(values.get(name), dict):
            yield from _values_of(value, values[name], here)


def _uncommented(lines: list[str]) -> Iterator[str]:
    """Yield the lines that set a value and have no comment above them. The first lines of groups need no comment."""
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        is_value = re.match(r"( *)[A-Za-z]+:( .+)?$", line)
        is_group = is_value and not is_value[2] and re.match(rf"{is_value[1]}  (#|[A-Za-z])", below)
        if is_value and not is_group and not above.lstrip().startswith("#"):
            yield line


def test_every_object_of_the_schema_is_closed() -> None:
    assert [path for path, value in _objects(SCHEMA) if value.get("additionalProperties") is not False] == []


def test_every_value_has_a_rule_and_every_rule_a_value() -> None:
    values = yaml.safe_load(VALUES)
    assert [path for path, given in _values_of(SCHEMA, values) if not given] == []
    assert values.keys() - SCHEMA["properties"].keys() == set()


def test_every_value_has_a_comment() -> None:
    # The fields inside these values are Kubernetes' own.
    foreign = ("nodeSelector", "podSecurityContext", "securityContext", "resources")
    text = re.sub(rf"^({'|'.join(foreign)}):\n(  .*\n)+", r"\1: {}\n", VALUES, flags=re.MULTILINE)
    assert list(_uncommented(text.splitlines())) == []


def test_the_keys_that_may_be_tolerated_do_not_include_quarantine() -> None:
    assert "computepool.io/unavailable" not in yaml.safe_load(VALUES)["guard"]["tolerationKeys"]


def test_every_name_is_quoted_because_yaml_reads_digits_as_a_number() -> None:
    # The name of a release or a namespace may consist of digits. A template with a suffix, such as "-metrics", is text.
    name = re.compile(
        r"^ *(?:- )?(?:name|namespace|serviceAccountName|app\.kubernetes\.io/\w+): (\{\{.*\}\})$", re.MULTILINE
    )
    found = [value for path in CHART.glob("templates/*") for value in name.findall(path.read_text())]
    assert found
    assert [value for value in found if not value.endswith("quote }}")] == []
