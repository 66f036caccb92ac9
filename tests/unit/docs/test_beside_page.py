"""docs/beside-other-controllers.md: what its manifests of other projects say about ComputePool is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from computepool.model.api import ComputePool, PoolSpec
from computepool.model.api.base import GROUP, PROVIDER_KEY, UNAVAILABLE_KEY
from tests.unit.app.cluster import make_pool
from tests.unit.cli.serving import shell
from tests.unit.docs.blocks import REPOSITORY, blocks

PAGE = REPOSITORY / "docs/beside-other-controllers.md"


def _shown(kind: str) -> dict[str, Any]:
    """The manifest of that kind."""
    found = (yaml.safe_load(block.text) for block in blocks(PAGE) if block.language == "yaml")
    (manifest,) = (each for each in found if each.get("kind") == kind)
    return dict(manifest)


def test_the_descheduler_leaves_out_the_operators_taint() -> None:
    (profile,) = _shown("DeschedulerPolicy")["profiles"]
    (plugin,) = profile["pluginConfig"]
    assert plugin["args"]["excludedTaints"] == [UNAVAILABLE_KEY]
    assert profile["plugins"]["deschedule"]["enabled"] == [plugin["name"]]


def test_a_standbys_nodes_are_born_with_label_and_taint() -> None:
    template = _shown("NodePool")["spec"]["template"]
    (name,) = template["metadata"]["labels"].values()
    assert template["metadata"]["labels"] == {PROVIDER_KEY: name}
    assert template["spec"]["taints"] == [{"key": PROVIDER_KEY, "value": name, "effect": "NoSchedule"}]


def test_argo_cd_ignores_fields_that_a_pool_has() -> None:
    (ignored,) = _shown("Application")["spec"]["ignoreDifferences"]
    assert (ignored["group"], ignored["kind"]) == (GROUP, ComputePool.__name__)
    schema = PoolSpec.model_json_schema()
    provider = schema["$defs"]["ProviderSpec"]["properties"]
    for path in ignored["jqPathExpressions"]:
        match re.fullmatch(r"\.spec\.(\w+)(?:\[\]\.(\w+))?", path):
            case re.Match() as found:
                assert found.group(1) in schema["properties"]
                assert found.group(2) is None or (found.group(1) == "providers" and found.group(2) in provider)
            case None:
                raise AssertionError(path)


def test_argo_cd_ignores_all_fields_that_the_drain_command_sets(tmp_path: Path) -> None:
    with shell(tmp_path, make_pool) as sh:
        sh.prints("drain", "inference/nebius")
        (patch,) = sh.server.do(lambda server: [call.json for call in server.calls if call.verb == "patch"])
    written = {step["path"] for step in patch if step["op"] != "test"}
    (ignored,) = _shown("Application")["spec"]["ignoreDifferences"]
    paths = {re.sub(r"/providers/\d+/", "/providers[]/", path).replace("/", ".") for path in written}
    assert paths | {".spec.mode"} == set(ignored["jqPathExpressions"])
