"""`computepool cleanup`: the operator's taint off all nodes, when nobody else takes it off any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.apiserver import NODES, FakeApiServer
from tests.unit.act.objects import node
from tests.unit.cli.serving import Shell, shell

KEY = "computepool.io/unavailable"
OTHER = {"key": "maintenance", "value": "x", "effect": "NoExecute", "timeAdded": "2026-11-23T05:00:00Z"}


def own(value: str = "NodeSilent", effect: str = "NoSchedule") -> dict[str, Any]:
    return {"key": KEY, "value": value, "effect": effect}


def nodes(server: FakeApiServer) -> None:
    """Two nodes with the taint, beside others of somebody else's, and one without."""
    taints = {"a1": [], "n1": [OTHER, own()], "n2": [own(), OTHER, own("mine", "NoExecute")]}
    for name, some in taints.items():
        server.create(NODES, {**node(name), "spec": {"taints": some}})


def taints(sh: Shell) -> dict[str, list[dict[str, Any]]]:
    items = sh.server.do(lambda server: server.items(NODES))
    return {item["metadata"]["name"]: item["spec"]["taints"] for item in items}


def test_all_nodes_lose_it_and_nothing_else(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        said = sh.prints("cleanup").splitlines()
        assert sorted(line.split(maxsplit=1)[1] for line in said[:2]) == [
            f"n1  {KEY}=NodeSilent:NoSchedule taken off",
            f"n2  {KEY}=NodeSilent:NoSchedule, {KEY}=mine:NoExecute taken off",
        ]
        assert [line.split()[0] for line in said[:2]] == ["1/2", "2/2"]
        assert said[2].startswith("2 nodes freed.")
        assert taints(sh) == {"a1": [], "n1": [OTHER], "n2": [OTHER]}


def test_a_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        sh.prints("cleanup")
        assert sh.prints("cleanup") == f"No node carries the taint {KEY}."
        assert sh.prints("cleanup", "--dry-run") == f"No node carries the taint {KEY}."


def test_a_dry_run_names_the_nodes_and_changes_nothing(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        before = taints(sh)
        assert sh.prints("cleanup", "--dry-run").splitlines() == [
            f"n1  {KEY}=NodeSilent:NoSchedule",
            f"n2  {KEY}=NodeSilent:NoSchedule, {KEY}=mine:NoExecute",
            "2 nodes would be freed. Nothing was changed.",
        ]
        assert taints(sh) == before


def test_a_node_whose_taints_change_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        sh.server.do(lambda server: server.fault("patch", path="n1", status=422, message="test failed"))
        assert "2 nodes freed." in sh.prints("cleanup")
        assert taints(sh)["n1"] == [OTHER]


def test_a_node_that_is_gone_meanwhile_is_no_trouble(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        sh.server.do(lambda server: server.fault("patch", path="n1", status=404))
        assert "freed." in sh.prints("cleanup")


@pytest.mark.parametrize(
    ("status", "again"), [(403, " This command needs the right to list and patch nodes."), (401, "")]
)
def test_what_can_not_be_changed_is_named_with_the_way_by_hand(tmp_path: Path, status: int, again: str) -> None:
    with shell(tmp_path, nodes) as sh:
        sh.server.do(lambda server: server.fault("patch", path="n1", status=status, times=9, message="not for you"))
        result = sh.run("cleanup")
        assert result.exit_code == 1
        assert " ".join(result.stderr.split()) == (
            f"1 node not freed (n1): not for you.{again} Run it again, or as an administrator: "
            f"kubectl taint nodes --all {KEY}-"
        )
        assert taints(sh) == {"a1": [], "n1": [OTHER, own()], "n2": [OTHER]}


def test_without_the_right_to_list_nodes_it_says_what_it_needs(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        sh.server.do(lambda server: server.fault("list", path=NODES, status=403, message="not for you"))
        assert "This command needs the right to list and patch nodes." in sh.fails("cleanup")


def test_a_taint_that_comes_back_each_time_tells_that_an_operator_still_runs(tmp_path: Path) -> None:
    with shell(tmp_path, nodes) as sh:
        # Each patch is answered well, and the list is as before.
        answer = b'{"metadata": {"resourceVersion": "1"}}'
        sh.server.do(lambda server: server.fault("patch", times=99, body=answer))
        result = sh.run("cleanup")
        assert result.exit_code == 1
        assert "an operator still runs" in result.stderr
