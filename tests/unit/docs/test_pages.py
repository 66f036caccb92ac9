"""The rules that the README and every page under docs/ keep, as far as they can be checked without a cluster.

tests/e2e/test_readme_commands.py and test_page_commands.py run the commands, and show the manifests to an API server.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import computepool.model.api as api
from computepool.assess.health.faults import LIFECYCLE
from computepool.audit.checks import CheckName
from computepool.audit.pins import Pin
from computepool.cli.explanation import Explanation, as_json
from computepool.cli.leader import Leader, Leading
from computepool.cli.plan_difference import Action
from computepool.model.api import ComputePool
from computepool.model.moves import TOLD
from computepool.model.reasons import Reason
from computepool.observe.decode import Records
from computepool.report import conditions
from computepool.report.metrics import Metrics
from tests.unit.act.objects import pod
from tests.unit.docs.blocks import COMMANDS, EXAMPLES, PAGES, README, REPOSITORY, anchors, blocks, prose
from tests.unit.docs.manifests import OF_OTHERS, Shown, shown_as

TOOLS = {"make", "sed", "docker", "helm", "kubectl", "computepool"}
"""What commands begin with. A test runs all but make and docker, which need another machine than a test has."""
MADE_BY_RUNNING = {"build/bench/", "build/demo/", "dist/", ".venv/bin/"}
FOR_USERS = [README, *PAGES]
OTHERS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RELEASE.md")
DOCUMENTS = [*FOR_USERS, *(REPOSITORY / name for name in OTHERS)]
VALUES_OF_THE_CHART = {"failover.releaseLostPods"}
"""Fields of the chart's values whose first word is a field of a pool too."""
NAMES_OF_OTHERS = {
    "DisruptionTarget": "a condition that Kubernetes sets on evicted pods",
    "Hostname": "a label of dcgm-exporter",
    "RemovePodsViolatingNodeAffinity": "a plugin of the Descheduler",
    "RemovePodsViolatingNodeTaints": "a plugin of the Descheduler",
}


def _name(document: Path) -> str:
    return document.name


@pytest.mark.parametrize("document", FOR_USERS, ids=_name)
def test_every_command_is_of_a_tool_that_is_installed_or_shown_before(document: Path) -> None:
    commands = [command for block in blocks(document) if block.language == "sh" for command in block.commands()]
    first = {re.sub(r"^[A-Z]+=\$\(", "", command).split()[0] for command in commands if not command.startswith("{")}
    assert first <= TOOLS


@pytest.mark.parametrize("document", FOR_USERS, ids=_name)
def test_every_block_says_what_it_is(document: Path) -> None:
    assert {block.language for block in blocks(document)} <= {"sh", "console", "yaml", "json", "promql", "text"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_make_target_exists(document: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = {match.group(1) for match in re.finditer(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)}
    text = document.read_text()
    named = set(re.findall(r"`(?:\w+=\w+ )*make ([a-z-]+)`", text)) | set(
        re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE)
    )
    assert named <= targets


@pytest.mark.parametrize("document", FOR_USERS, ids=_name)
def test_each_part_of_a_pool_that_is_shown_is_read_in_full(document: Path) -> None:
    example = yaml.safe_load((EXAMPLES / "eks.yaml").read_text())
    for block in blocks(document):
        if shown_as(block) is Shown.PART_OF_POOL:
            part = yaml.safe_load(block.text)
            written = {**example, "spec": example["spec"] | part["spec"]}
            assert _contains(ComputePool.from_object(written).spec.to_object(), part["spec"]), block.text


def _contains(whole: Any, part: Any) -> bool:
    """Whether the operator reads all that is written. It ignores misspelt fields."""
    if isinstance(part, dict):
        return all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("document", FOR_USERS, ids=_name)
def test_every_manifest_is_of_a_known_kind_and_without_duplicate_keys(document: Path) -> None:
    for block in blocks(document):
        if block.language == "yaml":
            assert shown_as(block) is not None, block.text
            yaml.load(block.text, Loader=_Strict)


class _Strict(yaml.SafeLoader):
    """Refuses a key that is written twice, which PyYAML reads as the last of them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def test_manifests_of_other_projects_are_named_and_shown() -> None:
    kinds = {
        yaml.safe_load(block.text).get("kind")
        for document in FOR_USERS
        for block in blocks(document)
        if shown_as(block) is Shown.OF_ANOTHER_PROJECT
    }
    assert kinds - {None} == OF_OTHERS


def test_all_daemonsets_are_given_the_same_tolerations() -> None:
    patch = yaml.safe_load((EXAMPLES / "device-plugin.yaml").read_text())["spec"]["template"]["spec"]["tolerations"]
    values = [
        yaml.safe_load(block.text)
        for block in blocks(REPOSITORY / "docs/daemonsets.md")
        if shown_as(block) is Shown.OF_ANOTHER_PROJECT
    ]
    assert [each.get("tolerations") or each["daemonsets"]["tolerations"] for each in values] == [patch, patch]


@pytest.mark.parametrize("document", FOR_USERS, ids=_name)
def test_every_reason_condition_and_value_named_exists(document: Path) -> None:
    values = {
        str(member)
        for found in vars(api).values()
        if isinstance(found, type) and issubclass(found, Enum)
        for member in found
    }
    known = {str(reason) for reason in Reason} | {
        *(conditions.READY, conditions.SATURATED, conditions.BURSTING, conditions.DEGRADED, conditions.RESILIENT),
        *(conditions.BUDGET_EXHAUSTED, conditions.SIGNALS_KNOWN, conditions.CONFIGURED),
        *(str(outcome) for outcome in TOLD),
        *(str(value) for value in (*Leading, *Action, *Pin, *CheckName)),
        *values,
        *NAMES_OF_OTHERS,
        *LIFECYCLE,
    }
    assert set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", prose(document))) <= known


def test_the_pages_name_reasons() -> None:
    text = "".join(map(prose, FOR_USERS))
    assert {"`Degraded`", "`Pinned`", "`CacheStale`"} <= set(re.findall(r"`\w+`", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_file_that_is_named_exists(document: Path) -> None:
    text = prose(document)
    linked = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
    named = set(re.findall(r"`([\w./-]+/(?:[\w.-]+\.(?:py|yaml|md|lock))?)`", text))
    roots = (document.parent, REPOSITORY, REPOSITORY / "operator/computepool")
    missing = {path for path in linked | named if not any((root / path).exists() for root in roots)}
    assert {path for path in missing if not path.endswith(".kubernetes.io/")} - MADE_BY_RUNNING == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_link_leads_to_a_file_beside_it_and_a_heading_in_it(document: Path) -> None:
    for path, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", prose(document)):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        assert not heading or heading in anchors(target), f"{path}#{heading}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_metric_that_is_named_exists(document: Path) -> None:
    assert set(re.findall(r"`(computepool_\w+)", prose(document))) <= Metrics().labels.keys()


@pytest.mark.parametrize("document", FOR_USERS, ids=_name)
def test_fields_that_are_named_by_their_path_exist(document: Path) -> None:
    schema = api.PoolSpec.model_json_schema()
    text = prose(document)
    fields = "|".join(schema["properties"])
    for path in re.findall(rf"`(?:spec\.)?((?:{fields})(?:\.[a-zA-Z]+)+)`", text):
        assert path in VALUES_OF_THE_CHART or _has(schema, schema, path.split(".")), path


def _has(schema: dict[str, Any], part: dict[str, Any], path: list[str]) -> bool:
    """Whether a field of that path is in a part of a JSON schema; lists are looked through."""
    options = [part, *part.get("anyOf", []), *part.get("allOf", [])]
    if not path:
        return True
    found = False
    for option in options:
        if "$ref" in option:
            found |= _has(schema, schema["$defs"][option["$ref"].rsplit("/", 1)[1]], path)
        elif "items" in option:
            found |= _has(schema, option["items"], path)
        elif path[0] in option.get("properties", {}):
            found |= _has(schema, option["properties"][path[0]], path[1:])
    return found


def test_the_fields_of_the_json_that_are_documented_are_those_that_are_printed() -> None:
    text = prose(COMMANDS)
    documented = set(re.findall(r"`leader\.(\w+)`", text))
    leader = msgspec.to_builtins(Leader(Leading.NOBODY, "Nobody leads."))
    assert documented == leader.keys()
    assert {f"`{value}`" for value in Leading} <= set(re.findall(r"`\w+`", text))
    explained = text.split("`explain` prints one object")[1].split("`signals` prints")[0]
    fields = " ".join(re.findall(r"^\| (.+?) \|", explained, re.MULTILINE))
    printed = as_json(Records().pod(msgspec.json.encode(pod("web"))), Explanation("Runs."))
    assert set(re.findall(r"`(\w+)[`\[]", fields)) == printed.keys()


def test_every_pin_is_explained() -> None:
    told = re.findall(
        r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?`) \|", prose(REPOSITORY / "docs/audit.md"), re.MULTILINE))
    )
    assert [pin for pin in map(str, Pin) if pin not in told] == []
