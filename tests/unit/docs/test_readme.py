"""The claims of the documents, as far as they can be checked without a cluster.

tests/e2e/test_readme_commands.py runs the commands of the README.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from computepool.assess.health.faults import LIFECYCLE
from computepool.model.api import (
    ComputePool,
    ConditionStatus,
    FailbackPolicy,
    PoolSpec,
    RunningPods,
    TaintEffect,
    TolerationOperator,
)
from computepool.model.moves import TOLD
from computepool.model.reasons import Reason
from computepool.report import conditions
from computepool.report.metrics import Metrics
from tests.unit.docs.blocks import CONFIGURATION, FORECAST, README, REPOSITORY, SIGNALS, blocks, prose

RUN_BY_TESTS = {"make", "docker", "helm", "kubectl", "computepool", "POD=$(kubectl"}
MADE_BY_RUNNING = {"build/bench/", ".venv/bin/"}
DOCUMENTS = [
    README,
    SIGNALS,
    CONFIGURATION,
    *(REPOSITORY / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]


def _shell() -> list[str]:
    return [command for block in blocks() if block.language == "sh" for command in block.commands()]


def test_the_two_commands_come_first() -> None:
    assert _shell()[:2] == ["make demo", "make test"]


def test_every_command_is_of_a_kind_that_a_test_runs() -> None:
    assert {command.split()[0] for command in _shell()} == RUN_BY_TESTS


def test_every_make_target_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = {match.group(1) for match in re.finditer(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)}
    for document in DOCUMENTS:
        text = document.read_text()
        named = set(re.findall(r"`(?:\w+=\w+ )*make ([a-z-]+)`", text)) | set(
            re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE)
        )
        assert named <= targets, document.name


def test_the_image_that_is_built_is_the_one_that_is_installed() -> None:
    shell = _shell()
    build, push = (command for command in shell if command.startswith("docker"))
    (install,) = (command for command in shell if command.startswith("helm install"))
    repository = re.search(r"image\.repository=(\S+)", install)
    version = yaml.safe_load((REPOSITORY / "charts/computepool/Chart.yaml").read_text())["appVersion"]
    assert repository is not None
    image = f"{repository.group(1)}:{version}"
    assert build == f"docker build --tag {image} ."
    assert push == f"docker push {image}"
    assert (REPOSITORY / "Dockerfile").is_file()


def test_the_manifest_shown_is_the_file_that_is_applied_and_a_valid_pool() -> None:
    shown, *_ = (block.text for block in blocks() if block.language == "yaml")
    assert shown == (REPOSITORY / "docs/examples/eks.yaml").read_text()
    pool = ComputePool.from_object(yaml.safe_load(shown))
    assert [provider.name for provider in pool.spec.providers] == ["aws", "nebius", "partner"]


def test_the_first_signal_shown_is_the_file_that_is_applied() -> None:
    manifest = (REPOSITORY / "docs/examples/queue-signal.yaml").read_text()
    for document in (README, SIGNALS):
        assert manifest in [block.text for block in blocks(document) if block.heading == "A first signal"]


@pytest.mark.parametrize("document", [README, SIGNALS, FORECAST], ids=lambda document: str(document.name))
def test_each_part_of_a_spec_that_is_shown_makes_a_valid_pool_with_the_example(document: Path) -> None:
    shown = (yaml.safe_load(block.text) for block in blocks(document) if block.language == "yaml")
    parts = [part for part in shown if "kind" not in part]
    example = yaml.safe_load((REPOSITORY / "docs/examples/eks.yaml").read_text())
    fields = PoolSpec.model_json_schema()["properties"].keys()
    assert parts
    for part in parts:
        assert part["spec"].keys() <= fields
        written = {**example, "spec": example["spec"] | part["spec"]}
        spec = ComputePool.from_object(written).spec.to_object()
        assert _contains(spec, part["spec"])


def _contains(whole: Any, part: Any) -> bool:
    """Whether the operator reads all that is written. It ignores misspelt fields."""
    if isinstance(part, dict):
        return all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return bool(whole == part)


def test_the_table_of_metrics_names_all_of_them() -> None:
    documented = set(re.findall(r"^\| `(computepool_\w+)(?:\{[\w,]+\})?` \|", prose(), re.MULTILINE))
    families = list(Metrics().registry.collect())
    assert documented == {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_every_reason_and_condition_named_exists() -> None:
    known = {str(reason) for reason in Reason} | {
        *(conditions.READY, conditions.SATURATED, conditions.BURSTING, conditions.DEGRADED, conditions.RESILIENT),
        *(conditions.BUDGET_EXHAUSTED, conditions.SIGNALS_KNOWN, conditions.CONFIGURED),
        *(str(kind) for kind in [*RunningPods, *FailbackPolicy, *TaintEffect, *TolerationOperator, *TOLD]),
        *(str(status) for status in ConditionStatus),
        *("Observe", "Enforce"),
        # Kubernetes sets this condition on evicted pods.
        "DisruptionTarget",
        # A plugin of the Descheduler.
        "RemovePodsViolatingNodeTaints",
        *LIFECYCLE,
    }
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", prose()))
    assert named <= known
    assert {"Degraded", "Pinned", "CacheStale"} <= named


def test_the_log_line_shown_is_json_as_the_operator_writes_it() -> None:
    (shown,) = (block.text for block in blocks() if block.language == "json")
    line = msgspec.json.decode(shown)
    assert line["message"] == "burst"
    assert {"pool", "provider", "reason", "pods", "took_ms"} <= line.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.name))
def test_every_file_that_is_named_exists(document: Path) -> None:
    text = prose(document)
    linked = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
    named = set(re.findall(r"`([\w./-]+/(?:[\w.-]+\.(?:py|yaml|md|lock))?)`", text))
    roots = (document.parent, REPOSITORY, REPOSITORY / "operator/computepool")
    missing = {path for path in linked | named if not any((root / path).exists() for root in roots)}
    assert missing - MADE_BY_RUNNING == set()
