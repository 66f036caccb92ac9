"""`computepool audit` with prices and a Prometheus: what is printed, and what is told where a server fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from computepool.cli.main import app
from tests.fakes.prometheus import answering, matrix, vector
from tests.unit.cli.audit.saved_objects import node, pod
from tests.unit.cli.audit.saved_objects import saved as save

PRICES = 'aws: {spot: "4.10", default: "12.29"}\n'
Answer = Callable[[str], bytes]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A cluster of two providers: web-1 holds 3 of 4 accelerators at aws, and nebius is free."""
    web = pod("web-1", "a1", gpus=3)
    web["status"]["startTime"] = "2026-01-01T00:00:00Z"
    return Path(save(tmp_path, [node("a1", "aws", gpus=4), node("n1", "nebius", gpus=4), web]))


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["audit", *words], env={"COLUMNS": "200"})


def printed(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return "\n".join(" ".join(line.split()) for line in result.stdout.splitlines())


def as_json(*words: str) -> Any:
    result = run(*words, "--output", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def gpus(*values: str) -> list[tuple[Mapping[str, str], str]]:
    return [
        ({"UUID": f"GPU-{number}", "gpu": str(number), "exported_namespace": "ml", "exported_pod": "web-1"}, value)
        for number, value in enumerate(values)
    ]


def exporter(query: str) -> bytes:
    """One device is busy, one holds memory, one is idle."""
    if "node_gpu_hourly_cost" in query:
        return matrix(({"node": "a1"}, "2.5"), ({"node": "n1"}, "0"))
    if query.startswith("count_over_time"):
        return matrix(*gpus("12", "12", "12"))
    return matrix(*(gpus("3", "70000", "3") if "FB_USED" in query else gpus("97", "0", "0")))


def test_without_prices_and_metrics_nothing_is_said_of_money(saved: Path) -> None:
    assert "Cost and waste" not in printed("--from", str(saved))
    data = as_json("--from", str(saved))
    assert (data["costs"]["perHour"], data["waste"]) == (None, None)


def test_costs_by_given_prices(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    text = printed("--from", str(saved), "--prices", str(file))
    assert "All accelerators cost 49.16 an hour, without 4 whose price is not known." in text
    assert "\naws 4 49.16 36.87 12.29 --prices\n" in text
    assert "\nnebius 4 not known not known not known nowhere\n" in text
    assert "\nml/replicaset/web 3 36.87\n" in text
    costs = as_json("--from", str(saved), "--prices", str(file))["costs"]
    assert (costs["perHour"], costs["acceleratorsWithoutPrice"]) == ("49.16", 4)
    assert costs["workloads"][0]["perHour"] == "36.87"


def test_prices_that_match_nothing_are_told(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text('awz: "3"\naws: {H200: {spot: "3"}}\n')
    text = printed("--from", str(saved), "--prices", str(file))
    assert "The price of no accelerator is known." in text
    assert "\naws 4 not known not known not known nowhere\n" in text
    assert "--prices names providers without a node: awz." in text
    assert "--prices has prices that match no accelerator: aws.H200.spot." in text
    assert "Cost by workload" not in text
    costs = as_json("--from", str(saved), "--prices", str(file))["costs"]
    assert costs["perHour"] is None
    assert costs["providersOfNoNode"] == ["awz"]
    assert costs["pricesOfNoAccelerator"] == ["aws.H200.spot"]


def test_waste_by_the_metrics_of_the_moment_at_which_the_cluster_was_saved(saved: Path) -> None:
    with answering(exporter) as (url, queries):
        text = printed("--from", str(saved), "--prometheus", url, "--window", "30m")
        data = as_json("--from", str(saved), "--prometheus", url)
    assert (
        "Of 3 accelerators that pods hold, in the last 30 min: busy 1, memory held without activity 1, idle 1, "
        "not known 0."
    ) in text
    assert "Before buying more: 2 of aws are not used (1 idle, 1 free), at 5.00 an hour." in text
    assert "\naws 4 10.00 7.50 2.50 OpenCost\n" in text
    assert "IdleAccelerators ok 1 accelerator that pods hold was idle for 30 min." in text
    waste = data["waste"]
    assert [waste[name] for name in ("windowSeconds", "held", "busy", "holdsMemory", "idle", "unknown")] == [
        3600.0,
        3,
        1,
        1,
        1,
        0,
    ]
    assert (waste["idlePerHour"], waste["providers"][0]["freePerHour"]) == ("2.50", "2.50")
    assert (waste["workloads"][0]["kind"], waste["workloads"][0]["idle"]) == ("ReplicaSet", 1)
    # Four queries each time, however many nodes and pods there are.
    assert len(queries) == 8
    assert "[30m]" in "".join(queries[:4])


def refuse(_query: str) -> bytes:
    return b"<html>no</html>"


def no_series(_query: str) -> bytes:
    return matrix()


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (refuse, 200, "Metrics were not read: this is not an answer of Prometheus"),
        (refuse, 503, "Metrics were not read: the server answers 503"),
        (refuse, 401, "Metrics were not read: the server refuses the credentials (401)"),
        (lambda _: vector(), 200, "the query returns a vector, not a matrix"),
        (no_series, 200, "The server has no metrics of NVIDIA's dcgm-exporter"),
    ],
)
def test_a_server_that_gives_nothing_is_told_and_all_else_is_there(
    saved: Path, answer: Answer, status: int, words: str
) -> None:
    with answering(answer, status=status) as (url, _):
        text = printed("--from", str(saved), "--prometheus", url)
        failed = run("--from", str(saved), "--prometheus", url, "--fail-on", "unread")
    assert words in text
    assert "MetricsRead FAILED" in text
    assert "If it is lost now" in text
    assert "IdleAccelerators" not in text
    assert failed.exit_code == 3


def test_a_server_that_is_away_is_told(saved: Path) -> None:
    with answering(no_series) as (url, _):
        pass
    assert "Metrics were not read: no connection to" in printed("--from", str(saved), "--prometheus", url)


def test_a_credential_that_the_server_repeats_is_not_printed(saved: Path, tmp_path: Path) -> None:
    token, config = tmp_path / "token", tmp_path / "source.yaml"
    token.write_text("s3cret-value")
    with answering(lambda _: b"who is s3cret-value?", status=500) as (url, _):
        config.write_text(f"url: {url}\nbearerTokenFile: {token}\nenforcedLabels: {{cluster: one}}\n")
        text = printed("--from", str(saved), "--prometheus-config", str(config))
    assert "who is ***?" in text
    assert "s3cret" not in text


def test_enforced_labels_are_on_every_selector(saved: Path, tmp_path: Path) -> None:
    config = tmp_path / "source.yaml"
    with answering(exporter) as (url, queries):
        config.write_text(f"url: {url}\nenforcedLabels: {{cluster: one}}\n")
        printed("--from", str(saved), "--prometheus-config", str(config))
    for query in queries:
        assert query.count('cluster="one"') >= query.count("DCGM_") + query.count("gpu_hourly")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--window", "1m"], "--window 1m: write a time from 5m to 7d"),
        (["--window", "8d"], "--window 8d"),
        (["--window", "1 hour"], "--window 1 hour"),
        (["--prometheus", "localhost:9090"], "--prometheus: give the address with its scheme"),
        (["--prometheus-config", "/none"], "can't read /none"),
        (["--prices", "/none"], "--prices /none: No such file"),
    ],
)
def test_an_option_that_can_not_be_used_is_told(saved: Path, words: list[str], told: str) -> None:
    result = run("--from", str(saved), *words)
    assert result.exit_code == 1
    assert told in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
