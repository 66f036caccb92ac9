"""`computepool diff -f`: what it prints, its exit codes, and what it says where something is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from computepool.cli import main
from computepool.cli.difference_output import as_json
from computepool.cli.plan_difference import Difference
from computepool.model.api import API_VERSION, KIND
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.unit.act.objects import pod, pool, provider
from tests.unit.app.cluster import NAMESPACES, full, make_pool
from tests.unit.cli.serving import Shell, shell
from tests.unit.docs.blocks import REPOSITORY, prose

PRICED = [provider("aws", pricePerAcceleratorHour="12")] + [
    provider(name, pricePerAcceleratorHour=price) for name, price in (("nebius", "3"), ("crusoe", "2"))
]
SIGNAL = {"name": "queue", "query": "waiting", "enter": "5", "exit": "1"}


def manifest(folder: Path, *providers: Any, name: str = "pool.yaml", **spec: Any) -> str:
    """A file with a pool, as a person writes it."""
    file = folder / name
    file.write_text(yaml.safe_dump({"apiVersion": API_VERSION, "kind": KIND, **pool(*providers, **spec)}))
    return str(file)


def waiting(number: int = 3, **spec: Any) -> Callable[[FakeApiServer], None]:
    """A full primary, two standbys with four places each, a pool, and so many pods that wait."""

    def before(server: FakeApiServer) -> None:
        full(server, number)
        make_pool(server, *PRICED, **spec)

    return before


def differs(sh: Shell, *words: str) -> str:
    """What it prints where there is a difference."""
    result = sh.run("diff", *words)
    assert (result.exit_code, result.stderr) == (1, ""), result.output
    return "\n".join(line.rstrip() for line in result.stdout.splitlines())


def fails(sh: Shell, *words: str) -> str:
    """What it says where it can't compare: on standard error, with 2."""
    result = sh.run("diff", *words)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


# -- what it prints


def test_the_spec_the_pool_and_the_pods_are_told_today_and_then(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *PRICED, placement="Cheapest"))
    names, today, then = "3: default/new-0, default/new-1, default/new-2", "sent to nebius", "sent to crusoe"
    assert text.splitlines() == [
        "Pool inference",
        "  spec.placement: Ordered -> Cheapest",
        "  cost per hour once pods are sent and moved: 33.00 -> 30.00",
        "",
        "3 pods decided differently",
        f" {'Pods':{len(names)}}  {'Today':33}  Then",
        f" {names}  {today} (PrimarySaturated)  {then} (PrimarySaturated)",
        " With --all each pod has a line.",
        "",
        "PrimarySaturated: The primary can't take the pod, and a standby provider can.",
        "",
        "Decided from one read of the cluster. Nothing was changed.",
    ]


def test_nothing_is_written(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        differs(sh, "-f", manifest(tmp_path, *PRICED, placement="Cheapest"))
        verbs = sh.server.do(lambda server: {call.verb for call in server.calls})
    assert verbs == {"list"}


def test_no_difference_ends_with_0(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        assert sh.prints("diff", "-f", manifest(tmp_path, *PRICED)) == (
            "No difference: the spec is the same, and nothing would be decided differently now."
        )


def test_a_difference_of_the_spec_alone_is_told_as_that(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *PRICED, failback={"stableSeconds": 600}))
    assert "spec.failback.stableSeconds: 300 -> 600" in text
    assert text.endswith("The spec differs, and nothing would be decided differently now. Nothing was changed.")


def test_all_gives_each_pod_a_line(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        file = manifest(tmp_path, *PRICED, placement="Cheapest")
        assert "With --all each pod has a line." in differs(sh, "-f", file)
        text = differs(sh, "-f", file, "--all")
    assert [line.split()[0] for line in text.splitlines() if line.startswith(" default/")] == [
        "default/new-0",
        "default/new-1",
        "default/new-2",
    ]
    assert "--all" not in text


def test_many_kinds_of_pods_are_told_by_what_differs(tmp_path: Path) -> None:
    """Each of 30 controllers has a pod that waits; the rows do not tell them apart."""

    def before(server: FakeApiServer) -> None:
        full(server, places=40)
        make_pool(server, *PRICED)
        for number in range(30):
            item = pod(f"web-{number:02}-x")
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"web-{number:02}", "uid": f"u{number}"}
            item["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
            server.create(PODS, item)

    with shell(tmp_path, before) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *PRICED, placement="Cheapest"))
    assert "30: default/web-00-x, default/web-01-x, default/web-02-x and 27 more" in text


def test_a_new_pool_is_told_with_all_that_it_would_do(tmp_path: Path) -> None:
    with shell(tmp_path, lambda server: full(server, 2)) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *PRICED))
    assert "Pool inference (new)" in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    sent = "pool inference: sent to nebius (PrimarySaturated)"
    assert f"2: default/new-0, default/new-1 in no pool {sent}" in rows
    assert "2: default/old-1, default/old-2 in no pool pool inference: runs on aws (RunsOnPrimary)" in rows


def test_a_pool_in_observe_is_said_to_do_nothing(tmp_path: Path) -> None:
    with shell(tmp_path, waiting(mode="Observe")) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *PRICED, mode="Observe", placement="Cheapest"))
    assert "only reported: sent to nebius (PrimarySaturated)" in text
    assert (
        "Note: Pool inference would be in mode Observe: the operator reports these decisions and does nothing." in text
    )


def test_a_finding_that_would_be_new_and_a_finding_that_would_be_gone(tmp_path: Path) -> None:
    typo = [*PRICED[:2], provider("crusoe", nodeSelector={"matchLabels": {"site": "nowhere"}})]
    with shell(tmp_path, waiting()) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *typo))
        assert "  + no node matches the nodeSelector of crusoe (site=nowhere)." in text
        sh.server.do(
            lambda server: server.update(COMPUTEPOOLS, {**server.get(COMPUTEPOOLS, "inference"), **pool(*typo)})
        )
        assert "  - no node matches the nodeSelector of crusoe (site=nowhere)." in differs(
            sh, "-f", manifest(tmp_path, *PRICED)
        )


def test_a_narrow_terminal_cuts_no_word(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        sh.columns = 60
        text = differs(sh, "-f", manifest(tmp_path, *PRICED, placement="Cheapest"))
    assert "PrimarySaturated" in text
    assert "…" not in text
    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith("Today: ") for line in lines)
    assert any(line.startswith("Then: ") for line in lines)


# -- for programs


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_pod(tmp_path: Path, form: str, read: Callable[[str], Any]) -> None:
    with shell(tmp_path, waiting()) as sh:
        found = read(differs(sh, "-f", manifest(tmp_path, *PRICED, placement="Cheapest"), "-o", form))
    assert (found["differs"], found["decidesDifferently"]) == (True, True)
    assert found["pools"][0]["spec"] == [{"field": "spec.placement", "today": "Ordered", "then": "Cheapest"}]
    assert [one["name"] for one in found["pods"]] == ["new-0", "new-1", "new-2"]
    assert found["pods"][0]["then"] == {
        "action": "Send",
        "pool": "inference",
        "provider": "",
        "target": "crusoe",
        "reason": "PrimarySaturated",
        "onlyReported": False,
    }


def test_the_fields_that_are_documented_are_those_that_are_printed() -> None:
    text = prose(REPOSITORY / "docs/commands.md").split("`diff` prints one object")[1].split("## Completion")[0]
    empty = as_json(Difference((), (), ()), [])
    documented = {line.split("`")[1].partition("[")[0] for line in text.splitlines() if line.startswith("| `")}
    assert documented == empty.keys()


# -- notes


def test_other_kinds_edited_signals_and_pools_that_cant_be_read_are_told(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        waiting()(server)
        server.create(COMPUTEPOOLS, pool(name="odd", placement="Sideways"))

    file = tmp_path / "pool.yaml"
    with shell(tmp_path, before) as sh:
        manifest(tmp_path, *PRICED, saturation={"metrics": [SIGNAL]})
        file.write_text(f"{file.read_text()}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n")
        text = differs(sh, "-f", str(file))
    assert "Secret s is no ComputePool, so it is left out." in text
    assert "The signals saturation/queue are new or edited, so they count as Unknown here." in text
    assert "This version can't read ComputePool odd as it is in the cluster" in text


def test_a_forecast_is_said_to_be_no_part_of_it(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        text = differs(sh, "-f", manifest(tmp_path, *PRICED, forecast={"mode": "Act"}))
    assert "The forecast is not part of this" in text


# -- errors


def test_an_invalid_manifest_names_the_field_before_the_cluster_is_read(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        said = fails(sh, "-f", manifest(tmp_path, *PRICED, placement="Cheap"))
        assert sh.server.do(lambda server: len(server.calls)) == 0
    assert "spec.placement: should be 'Ordered' or 'Cheapest', and is \"Cheap\"" in said


def test_no_file_is_an_error_of_the_command_line(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        result = sh.run("diff")
    assert result.exit_code == 2
    assert "--filename" in result.stderr


@pytest.mark.parametrize("denied", [(NODES,), (NODES, PODS), (COMPUTEPOOLS, NAMESPACES)])
def test_every_right_that_is_missing_is_named(tmp_path: Path, denied: tuple[str, ...]) -> None:
    def before(server: FakeApiServer) -> None:
        waiting()(server)
        for path in denied:
            name = path.rpartition("/")[2]
            server.fault("list", path=path, times=9, status=403, message=f"{name} is forbidden: cannot list {name}")

    with shell(tmp_path, before) as sh:
        said = fails(sh, "-f", manifest(tmp_path, *PRICED))
    for path in denied:
        name = path.rpartition("/")[2]
        assert f"{name} is forbidden: cannot list {name}." in said
    assert "such as by the ClusterRole computepool-explainer of the chart" in said


def test_an_api_server_that_does_not_answer_is_no_difference(tmp_path: Path) -> None:
    with shell(tmp_path, waiting()) as sh:
        sh.kubeconfig.write_text(re.sub(r"http://127.0.0.1:\d+", "http://127.0.0.1:1", sh.kubeconfig.read_text()))
        said = fails(sh, "-f", manifest(tmp_path, *PRICED))
    assert said.startswith("the API server does not answer: ")


def test_an_unexpected_error_is_no_difference_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def broken() -> bool:
        raise ZeroDivisionError("a defect")

    with pytest.raises(typer.Exit) as ended:
        main._run_one(broken(), "", failed=main.DIFF_FAILED)
    assert ended.value.exit_code == 2
    assert "ZeroDivisionError: a defect" in capsys.readouterr().err
