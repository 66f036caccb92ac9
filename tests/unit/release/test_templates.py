"""The forms for issues: GitHub can show them, and they ask for what helps to find a bug."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from computepool.cli.main import app
from tools.release.__main__ import ROOT

FOLDER = ROOT / ".github/ISSUE_TEMPLATE"
FORMS = sorted(FOLDER.glob("*.yaml"))
# Source: GitHub's documentation, "Syntax for GitHub's form schema".
TYPES = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def _read(path: Path) -> dict[str, Any]:
    form: dict[str, Any] = yaml.safe_load(path.read_text())
    return form


@pytest.mark.parametrize("path", FORMS, ids=lambda path: str(path.name))
def test_each_form_has_the_fields_that_github_needs(path: Path) -> None:
    form = _read(path)
    assert form.keys() <= {"name", "description", "labels", "title", "assignees", "body"}
    assert form["name"]
    assert form["description"]
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert asked
    for field in form["body"]:
        assert field["type"] in TYPES
        if field["type"] == "markdown":
            assert field["attributes"].keys() == {"value"}
        else:
            assert re.fullmatch(r"[a-z-]+", field["id"])
            assert field["attributes"]["label"]
            assert field.get("validations", {}).keys() <= {"required"}
    assert len({field["id"] for field in asked}) == len(asked)


def test_there_is_a_form_for_bugs_for_features_and_for_questions() -> None:
    assert [path.name for path in FORMS] == ["bug.yaml", "feature.yaml", "question.yaml"]
    assert _read(FOLDER / "config.yml") == {"blank_issues_enabled": False}


def test_a_bug_is_told_with_the_outputs_that_explain_it() -> None:
    required = {field["id"] for field in _read(FOLDER / "bug.yaml")["body"] if field.get("validations")}
    assert required == {"happened", "versions", "status", "pool"}
    text = (FOLDER / "bug.yaml").read_text()
    for command in ("computepool --version", "computepool status", "computepool explain", "Report a vulnerability"):
        assert command in text


def test_every_command_that_a_form_names_exists() -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for path in FORMS:
        assert set(re.findall(r"kubectl computepool (\w+)", path.read_text())) <= commands


def test_the_pull_request_template_names_the_checks() -> None:
    text = (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text()
    assert "`make check`" in text
    assert "`make test`" in text
