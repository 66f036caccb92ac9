"""The API reference names every field, and its links lead somewhere."""

from __future__ import annotations

import re

from computepool.model.api import ComputePool
from tools import reference


def test_every_field_has_a_row_in_the_section_of_its_type() -> None:
    text = reference.render()
    for name, schema in ComputePool.model_json_schema(by_alias=True)["$defs"].items():
        if "properties" not in schema or name == "ObjectMeta":
            continue
        section = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert re.findall(r"^\| `(\w+)` ", section, re.MULTILINE) == list(schema["properties"]), name


def test_every_link_leads_to_a_heading() -> None:
    text = reference.render()
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= headings


def test_defaults_and_bounds_are_shown() -> None:
    text = reference.render()
    assert "| `enterPercent` | integer | `95` | 1 to 100 |" in text
    assert "| `mode` | `Always` or `WhenSaturated` or `Off` | `WhenSaturated` |" in text
    assert "| `conditions` | list of [Condition](#condition) |" in text


def test_rows_have_as_many_cells_as_the_heading() -> None:
    rows = [line for line in reference.render().splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}
