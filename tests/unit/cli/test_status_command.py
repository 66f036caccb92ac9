"""`computepool status`: what the operator last reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.unit.act.objects import pool
from tests.unit.app.cluster import make_pool
from tests.unit.cli.serving import shell

SINCE = "2026-11-23T05:00:00Z"
TOLERATION = {"key": "computepool.io/provider", "operator": "Equal", "value": "nebius", "effect": "NoSchedule"}


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}


def counts(allocatable: int, allocated: int, unhealthy: int = 0) -> dict[str, int]:
    free = allocatable - allocated
    return {"allocatable": allocatable, "allocated": allocated, "free": free, "unhealthy": unhealthy}


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        condition("Ready", "True", "Reconciled", "The pool is watched and its spec is acted upon."),
        condition("Saturated", "True", "PodsOverflow", "aws: 16 of 16 accelerators allocated (100 %)."),
        condition("Degraded", "True", "NoNodesMatch", "no node matches [crusoe]: check :spec.providers[2]: of it"),
    ],
    "providers": [
        {"name": "aws", "nodes": 2, "accelerators": counts(16, 16), "costPerHour": "196.64"},
        {"name": "nebius", "nodes": 2, "accelerators": counts(16, 6, 8), "burstPods": 6, "costPerHour": "17.70"},
        {"name": "crusoe", "nodes": 0, "accelerators": counts(0, 0)},
    ],
    "pending": {"pods": 1, "accelerators": 4},
    "burstPods": 6,
    "costPerHour": "214.34",
    "admission": {"tolerations": [TOLERATION], "preference": []},
    "lastDecision": {
        "time": SINCE,
        "action": "Burst",
        "reason": "PrimarySaturated",
        "message": "6 pod(s) sent to standbys.",
    },
}


def looked_at(server: FakeApiServer) -> None:
    item = make_pool(server)
    server.update(COMPUTEPOOLS, {**item, "status": STATUS})


def reported(server: FakeApiServer, **status: Any) -> None:
    looked_at(server)
    (item,) = server.items(COMPUTEPOOLS)
    server.update(COMPUTEPOOLS, {**item, "status": {**STATUS, **status}})


def test_a_pool_is_told_from_its_providers_to_its_last_decision(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        lines = sh.prints("status").splitlines()
    assert lines[:11] == [
        "inference  Enforce  nvidia.com/gpu",
        " Provider  Role     Nodes  In use  Free  Unusable  Burst  Cost/h  Use",
        " aws       primary      2   16/16     0         0      0  196.64",
        " nebius    standby      2    6/16    10         8      6   17.70  admits",
        " crusoe    standby      0     0/0     0         0      0       -",
        "",
        " 1 pod waiting for 4 accelerators. The pool costs 214.34 an hour.",
        "",
        " Condition  Status  Reason        Message",
        " Ready      True    Reconciled    The pool is watched and its spec is acted upon.",
        " Saturated  True    PodsOverflow  aws: 16 of 16 accelerators allocated (100 %).",
    ]
    assert lines[-1].startswith(" Last decision, ")
    assert lines[-1].endswith(" ago: Burst (PrimarySaturated). 6 pod(s) sent to standbys.")


def test_words_are_printed_as_they_are_brackets_and_colons_included(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        assert "no node matches [crusoe]: check :spec.providers[2]: of it" in sh.prints("status")


@pytest.mark.parametrize("columns", [80, 100])
def test_on_a_narrow_terminal_no_line_is_longer_and_no_number_is_cut(tmp_path: Path, columns: int) -> None:
    with shell(tmp_path, looked_at) as sh:
        sh.columns = columns
        text = sh.prints("status")
    assert max(len(line) for line in text.splitlines()) <= columns
    for whole in ("16/16", "196.64", "NoNodesMatch", "PodsOverflow", "Saturated"):
        assert whole in text
    assert "…" not in text


def test_in_a_pipe_nothing_is_wrapped(tmp_path: Path) -> None:
    long = {**STATUS, "conditions": [condition("Degraded", "True", "WriteRefused", "word " * 100 + "end")]}

    def before(server: FakeApiServer) -> None:
        server.update(COMPUTEPOOLS, {**make_pool(server), "status": long})

    with shell(tmp_path, before) as sh:
        sh.columns = 0
        text = sh.prints("status")
    (line,) = [line for line in text.splitlines() if "WriteRefused" in line]
    assert line.endswith("end")


def test_a_pool_that_nobody_has_looked_at_says_so(tmp_path: Path) -> None:
    with shell(tmp_path, make_pool) as sh:
        assert sh.prints("status").splitlines() == [
            "inference  Enforce  nvidia.com/gpu",
            " Not looked at yet: is the operator running?",
        ]


def test_a_status_of_an_older_spec_says_so(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        looked_at(server)
        item = server.get(COMPUTEPOOLS, "inference")
        server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], "mode": "Observe"}})

    with shell(tmp_path, before) as sh:
        text = sh.prints("status")
    assert "inference  Observe" in text
    assert "The spec has changed since; what follows is about the previous spec." in text


def test_all_pools_are_shown_by_name_and_one_where_it_is_asked_for(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        for name in ("training", "batch"):
            server.create(COMPUTEPOOLS, pool(name=name))

    with shell(tmp_path, before) as sh:
        text = sh.prints("status")
        assert text.index("batch") < text.index("training")
        assert "batch" not in sh.prints("status", "training")


def test_no_pool_at_all_is_no_error(tmp_path: Path) -> None:
    with shell(tmp_path, lambda _: None) as sh:
        assert sh.prints("status") == "There is no ComputePool in the cluster yet."


def test_an_unknown_pool_is_told_in_a_sentence(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        assert sh.fails("status", "nobody") == "there is no ComputePool 'nobody': see `kubectl get computepools`"


@pytest.mark.parametrize(
    ("breaker", "says"),
    [
        ({"state": "Open", "reason": "ProviderSilent", "failures": 1}, "failed"),
        ({"state": "Open", "reason": "Drained"}, "drained"),
        ({"state": "HalfOpen", "reason": "ProviderSilent", "node": "c1"}, "on trial"),
        ({"state": "Closed"}, "-"),
    ],
)
def test_a_provider_that_is_not_in_full_use_says_so(tmp_path: Path, breaker: dict[str, Any], says: str) -> None:
    providers = [*STATUS["providers"][:2], {**STATUS["providers"][2], "breaker": breaker}]
    with shell(tmp_path, lambda server: reported(server, providers=providers)) as sh:
        (row,) = [line for line in sh.prints("status").splitlines() if line.startswith(" crusoe")]
    assert row.endswith(says)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (condition("Ready", "Unknown", "CacheStale", "the view of pods is 130 s old"), ["frozen", "admits, frozen"]),
        (condition("Degraded", "True", "TooManyFailed", "2 of 3 failed."), ["held back", "admits, held back"]),
    ],
)
def test_a_pool_that_stands_still_says_so_beside_what_was_decided_before(
    tmp_path: Path, found: dict[str, Any], says: list[str]
) -> None:
    with shell(tmp_path, lambda server: reported(server, conditions=[found])) as sh:
        shown = sh.prints("status").splitlines()
        sh.columns = 80
        assert max(len(line) for line in sh.prints("status").splitlines()) <= 80
    assert [next(line for line in shown if line.startswith(f" {name}")) for name in ("aws", "nebius")] == [
        f" aws       primary      2   16/16     0         0      0  196.64  {says[0]}",
        f" nebius    standby      2    6/16    10         8      6   17.70  {says[1]}",
    ]


def test_commands_that_mend_the_configuration_are_on_lines_of_their_own_and_never_wrapped(tmp_path: Path) -> None:
    command = f"kubectl taint nodes {' '.join(f'node-{number}' for number in range(20))} a/b=c:NoSchedule --overwrite"
    wrong = condition("Configured", "False", "StandbyNotTainted", f"nodes have no taint. To mend it: `{command}`. So.")
    with shell(tmp_path, lambda server: reported(server, conditions=[wrong])) as sh:
        sh.columns = 80
        lines = sh.prints("status").splitlines()
    assert lines[lines.index(" To mend the configuration:") + 1] == f"   {command}"


def test_a_pool_that_is_configured_well_shows_no_commands(tmp_path: Path) -> None:
    with shell(tmp_path, lambda server: reported(server)) as sh:
        assert "To mend" not in sh.prints("status")


def test_what_was_spent_today_is_told_beside_the_bound(tmp_path: Path) -> None:
    budget = {"day": "2026-11-23", "spent": "12.345678", "time": SINCE}
    with shell(tmp_path, lambda server: reported(server, budget=budget)) as sh:
        assert " Spent on standbys on 2026-11-23 (UTC): 12.35." in sh.prints("status").splitlines()


def test_signals_are_shown_with_verdict_value_and_coverage(tmp_path: Path) -> None:
    signals = [
        {
            "key": "saturation/queue",
            "verdict": "On",
            "on": True,
            "value": "9 requests",
            "ageSeconds": 60,
            "coveragePercent": 100,
        },
        {"key": "saturation/busy", "verdict": "Unknown", "on": True, "reason": "NoSeries", "message": "Nothing came."},
    ]
    with shell(tmp_path, lambda server: reported(server, signals=signals)) as sh:
        lines = [" ".join(line.split()) for line in sh.prints("status").splitlines()]
    assert "Signal Verdict Value Age Covered Message" in lines
    assert "saturation/queue On 9 requests <= 60 s 100 %" in lines
    assert "saturation/busy Unknown (was on) - - 0 % Nothing came." in lines
