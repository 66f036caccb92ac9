"""What goes wrong is told in a sentence that says what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from computepool.cli.errors import NEEDS_POOLS, sentence
from computepool.kube.errors import Unavailable
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.unit.app.cluster import full, make_pool
from tests.unit.cli.serving import Shell, shell

COMMANDS = [("status",), ("explain", "web")]


def nothing(_server: FakeApiServer) -> None:
    """An empty cluster."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    with shell(tmp_path, nothing) as sh:
        said = sh.fails(*command, "--kubeconfig", str(tmp_path / "nowhere"))
        assert said == f"no kubeconfig file at {tmp_path / 'nowhere'}"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_kubeconfig_that_is_not_there_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, command: tuple[str, ...]
) -> None:
    with shell(tmp_path, nothing) as sh:
        sh.fails(*command, "--kubeconfig", str(tmp_path / "nowhere"))
    assert caplog.messages == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["~no-such-user/config", "x" * 300])
def test_a_kubeconfig_that_cannot_be_looked_for_is_named(tmp_path: Path, command: tuple[str, ...], path: str) -> None:
    with shell(tmp_path, nothing) as sh:
        sh.columns = 2000
        assert path in sh.fails(*command, "--kubeconfig", path)
        both = sh.fails(*command, "--kubeconfig", f"{sh.kubeconfig}{os.pathsep}{path}")
        assert both.startswith("cannot use kubeconfig ")


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "{", "clusters: 3", "current-context: x"])
def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    with shell(tmp_path, nothing) as sh:
        sh.kubeconfig.write_text(text)
        for command in COMMANDS:
            assert str(sh.kubeconfig) in sh.fails(*command)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("current-context: x", "current-context: y", "it has no context 'y'; it has x"),
        ("current-context: x", "", "it has no current-context: choose one by kubectl config use-context"),
        ("cluster: c,", "cluster: gone,", "its context 'x' names the cluster 'gone', which it does not have"),
        ("http://", "nonsense//", "the cluster's `server` is no address that begins with https: nonsense//"),
        ("user: {}", "user: {exec: {apiVersion: v1, command: no-such}}", "its credential plugin 'no-such' gave"),
        ("user: {}", 'user: {exec: {apiVersion: v1, command: "false"}}', "(exec: process returned 1): install it, or"),
        (': "http://', ': "https://localhost:99999/', "is no address: https://localhost:99999/127.0.0.1"),
        (': "http://', ': "https:///', "must be an address with a host and no query: https:///127.0.0.1"),
        (': "http://', ': "https://localhost/#', "must be an address with a host and no query: https://localhost/#"),
        ("http://", "https://", "the API server does not answer: "),
        ('server: "http', 'certificate-authority-data: aGVsbG8=, server: "https', "certificate authority"),
        ("user: {}", "user: {tokenFile: /no/token}", "No such file or directory: '/no/token'"),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], before: str, after: str, says: str
) -> None:
    with shell(tmp_path, nothing) as sh:
        text = sh.kubeconfig.read_text()
        assert before in text
        sh.kubeconfig.write_text(text.replace(before, after))
        ended = sh.run("status", "--kubeconfig", str(sh.kubeconfig))
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert says in " ".join(ended.stderr.split())
        assert "Traceback" not in ended.stderr
    assert capfd.readouterr().err == "", "the official loader's own log is part of the sentence"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_api_server_that_does_not_answer_is_named_without_python_in_it(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with shell(tmp_path, nothing) as sh:
        sh.kubeconfig.write_text(re.sub(r"http://127.0.0.1:\d+", "https://127.0.0.1:1", sh.kubeconfig.read_text()))
        said = sh.fails(*command)
    assert said.startswith("the API server does not answer: Cannot connect to host 127.0.0.1:1")
    assert "Check the kubeconfig" in said
    assert "object at" not in said


def test_a_certificate_that_is_not_accepted_is_told_as_that() -> None:
    error = Unavailable(0, "Certificate", "localhost:6443: certificate has expired", request="GET /x")
    assert sentence(error, NEEDS_POOLS) == (
        "the server's certificate is not accepted: localhost:6443: certificate has expired. Check the kubeconfig's "
        "`server`, `certificate-authority` and `tls-server-name`."
    )


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--operator-namespace", "a#b"),
        ("status", "--lease-name", "a?b"),
        ("explain", "web", "--namespace", "a%b"),
        ("explain", "web", "--operator-namespace", "A"),
        ("signals", "inference", "--operator-namespace", "a b"),
        ("check", "--namespace", "a.b"),
        ("check", "--lease-name", "../b"),
        ("run", "--namespace", "a/b"),
        ("run", "--lease-name", "a#"),
    ],
)
def test_a_text_that_can_be_no_name_is_a_wrong_use_of_the_command(tmp_path: Path, words: tuple[str, ...]) -> None:
    with shell(tmp_path, nothing) as sh:
        ended = sh.run(*words)
        assert ended.exit_code == 2
        assert f"{words[-1]!r} is no name of" in " ".join(ended.stderr.replace("│", " ").split())
        assert sh.server.do(lambda server: server.calls) == []


@pytest.mark.parametrize("command", [("drain", "inference/nebius"), ("cleanup",)])
@pytest.mark.parametrize("flag", ["--namespace", "-n"])
def test_a_namespace_is_refused_where_nothing_has_one(tmp_path: Path, command: tuple[str, ...], flag: str) -> None:
    with shell(tmp_path, nothing) as sh:
        ended = sh.run(*command, flag, "team")
        assert ended.exit_code == 2
        assert "pools and nodes belong to no namespace: leave this flag out" in " ".join(ended.stderr.split())
        assert flag not in sh.prints(command[0], "--help")
        assert sh.server.do(lambda server: server.calls) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_cluster_without_the_crd_is_told_what_to_install(tmp_path: Path, command: tuple[str, ...]) -> None:
    with shell(tmp_path, lambda server: server.behaviour.absent.add(COMPUTEPOOLS)) as sh:
        assert sh.fails(*command) == "the cluster knows no ComputePools: install the chart or the CRD first."


def _full_with_pool(server: FakeApiServer) -> None:
    full(server)
    make_pool(server)


def _refuse(sh: Shell, path: str, status: int) -> None:
    message = 'nodes is forbidden: User "jane" cannot list resource "nodes"'
    sh.server.do(lambda server: server.fault("list", path=path, times=9, status=status, message=message))


def test_a_right_that_is_missing_is_told_for_the_command_that_needs_it_alone(tmp_path: Path) -> None:
    with shell(tmp_path, _full_with_pool) as sh:
        _refuse(sh, NODES, 403)
        said = sh.fails("signals", "inference", "--url", "http://localhost:1")
        assert said.startswith('nodes is forbidden: User "jane" cannot list resource "nodes".')
        assert "This command needs the right to list computepools, namespaces, nodes and pods" in said
        assert "cleanup" not in said
        _refuse(sh, PODS, 403)
        said = sh.fails("signals", "inference", "--url", "http://localhost:1")
        assert said.count("is forbidden: ") == 2, "every right that is missing is named"
        assert "inference" in sh.prints("status"), "which needs no nodes"
        _refuse(sh, COMPUTEPOOLS, 403)
        assert sh.fails("status").endswith(". This command needs the right to list computepools.")


def test_credentials_that_are_refused_are_told(tmp_path: Path) -> None:
    with shell(tmp_path, nothing) as sh:
        _refuse(sh, COMPUTEPOOLS, 401)
        assert sh.fails("status").startswith("the API server does not accept the credentials: ")


def test_any_other_answer_is_told_as_it_came(tmp_path: Path) -> None:
    with shell(tmp_path, nothing) as sh:
        _refuse(sh, COMPUTEPOOLS, 500)
        assert "500" in sh.fails("status")


def test_the_help_names_the_commands_and_the_rights(tmp_path: Path) -> None:
    with shell(tmp_path, nothing) as sh:
        text = sh.prints("--help")
        assert all(command in text for command in ("run", "status", "explain", "diff"))
        assert "nodes and pods in the whole cluster" in " ".join(sh.prints("explain", "--help").split())
