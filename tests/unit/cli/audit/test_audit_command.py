"""`computepool audit` of a saved cluster, as a person runs it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from computepool.cli.main import app
from computepool.model.api import ComputePool
from tests.unit.cli.audit.saved_objects import node, pod, saved

VERDICT = "If aws fails now: 4 of 6 accelerators have somewhere to go; 2 do not, of 1 workload."


def _run(*words: str, columns: int = 200) -> Result:
    return CliRunner().invoke(app, ["audit", *words], env={"COLUMNS": str(columns)})


@pytest.fixture
def cluster(tmp_path: Path) -> str:
    """6 accelerators held at aws, 4 free at nebius."""
    nodes = [node("a1", "aws"), node("n1", "nebius", gpus=4)]
    return saved(tmp_path, [*nodes, *(pod(f"w{number}", "a1", gpus=2) for number in range(3))])


def test_the_verdict_comes_first(cluster: str) -> None:
    result = _run("--from", cluster)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == VERDICT
    assert "ml/replicaset/web" in result.stdout
    assert result.stderr == ""


def test_the_same_for_programs(cluster: str) -> None:
    found = json.loads(_run("--from", cluster, "-o", "json").stdout)
    assert found == yaml.safe_load(_run("--from", cluster, "-o", "yaml").stdout)
    assert (found["verdict"]["placed"], found["verdict"]["stranded"]) == (4, 2)
    assert found["losses"][0]["lost"] == [{"kind": "provider", "name": "aws"}]
    assert found["cluster"]["notRead"].keys() == {"Namespace", "PodDisruptionBudget"}


def test_the_supply_as_a_table_of_numbers(cluster: str) -> None:
    rows = list(csv.DictReader(io.StringIO(_run("--from", cluster, "-o", "csv").stdout)))
    assert [(row["provider"], row["capacity"], row["used"], row["free"]) for row in rows] == [
        ("aws", "8", "6", "2"),
        ("nebius", "4", "0", "4"),
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 0),
        (("--fail-on", "stranded"), 3),
        (("--fail-on", "stranded", "--lose", "nebius"), 0),
        (("--fail-on", "unread"), 3),
    ],
)
def test_the_exit_code_for_pipelines(cluster: str, words: tuple[str, ...], code: int) -> None:
    assert _run("--from", cluster, *words).exit_code == code


def test_providers_that_the_user_names(cluster: str) -> None:
    found = json.loads(_run("--from", cluster, "--provider", "lab=provider=nebius", "-o", "json").stdout)
    assert [each["name"] for each in found["providers"]] == ["aws", "lab"]


def test_a_provider_that_is_named_twice_has_the_nodes_of_both_values(cluster: str) -> None:
    result = _run(
        "--from", cluster, "--provider", "lab=provider=aws", "--provider", "lab=provider=nebius", "-o", "json"
    )
    assert [(each["name"], each["nodes"]) for each in json.loads(result.stdout)["providers"]] == [("lab", 2)]
    assert result.stderr == ""


def test_a_selector_that_selects_no_node_is_told_beside_the_output(cluster: str) -> None:
    result = _run("--from", cluster, "--provider", "neb=provier=nebius", "-o", "json")
    assert (result.exit_code, len(json.loads(result.stdout)["providers"])) == (0, 2)
    assert result.stderr == "--provider neb: no node has this label with this value: provier\n"


def test_a_part_that_is_named_twice_is_lost_once(cluster: str) -> None:
    result = _run("--from", cluster, "--lose", "aws", "--lose", "aws")
    assert result.stdout.splitlines()[0] == VERDICT


def test_a_suggestion_fails_as_it_is_asked_to(cluster: str) -> None:
    result = _run("--from", cluster, "--suggest", "--fail-on", "stranded", "-o", "yaml")
    assert result.exit_code == 3
    assert yaml.safe_load(result.stdout)["kind"] == "ComputePool"


@pytest.mark.parametrize("form", ["json", "yaml", "gzip"])
def test_the_standard_input_is_a_saved_cluster(cluster: str, form: str) -> None:
    content = Path(cluster).read_bytes()
    forms = {"json": content, "yaml": yaml.safe_dump(json.loads(content)).encode(), "gzip": gzip.compress(content)}
    result = CliRunner().invoke(app, ["audit", "--from", "-"], env={"COLUMNS": "200"}, input=forms[form])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == VERDICT


def test_a_suggested_pool_is_a_pool(cluster: str) -> None:
    text = _run("--from", cluster, "--suggest").stdout
    suggested = ComputePool.from_object(yaml.safe_load(text))
    assert [each.name for each in suggested.spec.providers] == ["aws", "nebius"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--lose", "gcp"), "--lose gcp: there is no such part; there is aws, nebius"),
        (("--provider", "lab"), "--provider lab: write NAME=LABEL=VALUE"),
        (("--provider", "Big Name=provider=aws"), "a provider's name has up to 63 lower-case letters"),
        (("--provider", f"{'y' * 64}=provider=aws"), "a provider's name has up to 63 lower-case letters"),
        (("--provider", "lab=provider=aws,"), "'' is no label with its value"),
        (("--provider", "lab=provider=a=b"), "'provider=a=b' is no label with its value"),
        (("--provider", "lab=provider=aws", "--provider", "lab=rack=7"), "the name is given before with another label"),
        (("--resource", "cpu"), "--resource cpu: an accelerator is an extended resource with its domain"),
        (("--context", "prod"), "--from reads files, and --context names a live cluster"),
        (("--suggest", "--output", "html"), "--suggest prints YAML with comments: leave out --output html"),
        (("--provider", "all=kubernetes.io/hostname", "--suggest"), "a pool needs two providers"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_in_a_sentence(cluster: str, words: tuple[str, ...], says: str) -> None:
    result = _run("--from", cluster, *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_file_that_is_not_there() -> None:
    result = _run("--from", "/nowhere/cluster.json")
    assert result.exit_code == 1
    assert "does not exist" in " ".join(result.stderr.split())


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_no_word_of_the_verdict_is_cut_on_a_narrow_terminal(cluster: str, columns: int) -> None:
    words = _run("--from", cluster, columns=columns).stdout.split()
    assert " ".join(words).startswith(VERDICT)
    assert not any(word.endswith("…") for word in words)
