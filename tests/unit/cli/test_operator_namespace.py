"""The operator's namespace: given by flags, or in the operator's own pods by POD_NAMESPACE."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from computepool.cli.main import app
from tests.fakes.apiserver import PODS, FakeApiServer
from tests.unit.act.objects import pod
from tests.unit.app.cluster import full, make_pool
from tests.unit.cli.serving import shell

ELSEWHERE = "gpu-system"


def before(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)
    item = pod("web")
    server.create(PODS, {**item, "metadata": {**item["metadata"], "namespace": ELSEWHERE}})


@pytest.mark.parametrize("words", [(), ("-n", ELSEWHERE), ("--namespace", ELSEWHERE), (f"-n{ELSEWHERE}",)])
def test_status_reads_the_lease_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "another" if words else ELSEWHERE)
    with shell(tmp_path, before) as sh:
        assert f"there is no Lease computepool in namespace {ELSEWHERE}." in sh.prints("status", *words)


def test_explain_knows_the_operators_own_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", ELSEWHERE)
    with shell(tmp_path, before) as sh:
        assert f"Pods of namespace {ELSEWHERE} are never managed." in sh.prints("explain", "web", "-n", ELSEWHERE)


def test_all_commands_have_the_same_option() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found = {
        name: sorted(option.opts)
        for name, command in group.commands.items()
        for option in command.params
        if option.envvar == "POD_NAMESPACE"
    }
    every = ["--namespace", "--operator-namespace", "-n"]
    assert found == dict.fromkeys(["audit", "check", "diff", "drill", "run", "signals", "status"], every) | {
        "explain": ["--operator-namespace"]
    }
