"""`computepool status`: what the operator last reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.unit.act.objects import pool
from tests.unit.app.cluster import make_pool
from tests.unit.cli.leases import lead
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
    lead(server)
    item = make_pool(server)
    server.update(COMPUTEPOOLS, {**item, "status": STATUS})


def reported(server: FakeApiServer, **status: Any) -> None:
    looked_at(server)
    (item,) = server.items(COMPUTEPOOLS)
    server.update(COMPUTEPOOLS, {**item, "status": {**STATUS, **status}})


def test_a_pool_is_told_from_its_providers_to_its_last_decision(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        lines = sh.prints("status").splitlines()
    assert lines[0].startswith("Leader: computepool-7f9c (renewed ")
    assert lines[0].endswith(" s ago). The figures are current.")
    assert lines[1:13] == [
        "",
        "inference  Enforce  nvidia.com/gpu",
        " Provider  Role     Nodes  In use  Free  Unusable  Burst  Cost/h  Use",
        " aws       primary      2   16/16     0         0      0  196.64",
        " nebius    standby      2    6/16    10         8      6   17.70  admits",
        " crusoe    standby      0       -     0         0      0       -",
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


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_where_a_table_does_not_fit_no_word_is_cut_and_no_sentence_becomes_a_column_of_words(
    tmp_path: Path, columns: int
) -> None:
    found = condition("BudgetExhausted", "Unknown", "InsufficientCapacity", "one two three four five six seven eight")
    signal = {"key": "saturation/waiting-requests", "verdict": "Unknown", "on": True, "value": "9 requests"}
    signal |= {"ageSeconds": 60, "coveragePercent": 100, "message": "No series of the answer belongs to a node."}
    with shell(tmp_path, lambda server: reported(server, signals=[signal], conditions=[found])) as sh:
        sh.columns = columns
        text = sh.prints("status")
    assert max(len(line) for line in text.splitlines()) <= columns
    assert "…" not in text
    assert "one two three" in text
    told = " ".join(text.split())
    for whole in (
        "InsufficientCapacity",
        "saturation/waiting-requests",
        "9 requests",
        "No series of the answer belongs",
    ):
        assert whole in told


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
        assert sh.prints("status").splitlines()[2:] == [
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
        assert sh.prints("status").splitlines()[-1] == "There is no ComputePool in the cluster."


def test_an_unknown_pool_is_told_in_a_sentence(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        assert sh.fails("status", "nobody") == "there is no ComputePool 'nobody': see `kubectl get computepools`"


@pytest.mark.parametrize(
    ("breaker", "says"),
    [
        ({"state": "Open", "reason": "ProviderSilent", "failures": 1}, "failed"),
        ({"state": "Open", "reason": "Drained"}, "drain ended"),
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
    assert lines[lines.index(" To mend the configuration, if the spec says what you mean:") + 1] == f"   {command}"


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


def test_gated_pods_are_told_apart_with_the_programs_that_hold_them_back(tmp_path: Path) -> None:
    gates = [{"name": "example.com/hold", "pods": 1}, {"name": "kueue.x-k8s.io/admission", "pods": 2}]
    pending = {"pods": 1, "accelerators": 4, "gated": 3}
    with shell(tmp_path, lambda server: reported(server, pending=pending, schedulingGates=gates)) as sh:
        text = sh.prints("status")
    held = "3 pods held back by scheduling gates: 1 by example.com/hold, 2 by kueue.x-k8s.io/admission (Kueue)."
    assert held in " ".join(text.split())


def test_a_standby_that_keeps_admission_closed_is_named(tmp_path: Path) -> None:
    admission = {"tolerations": [], "preference": [], "heldBy": "nebius", "message": "nebius takes pods."}
    with shell(tmp_path, lambda server: reported(server, admission=admission)) as sh:
        assert "Admission is closed. nebius takes pods." in sh.prints("status")


# -- who leads, and what is current


def test_a_dead_leader_is_told_first_and_the_rest_is_shown(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        looked_at(server)
        lead(server, 14 * 60)

    with shell(tmp_path, before) as sh:
        lines = sh.prints("status").splitlines()
    assert lines[0].startswith("Nobody leads: the Lease was last renewed at ")
    assert lines[0].endswith(" by computepool-7f9c. That was 14 min ago, and the figures are from then.")
    assert "inference  Enforce  nvidia.com/gpu" in lines


def test_the_trouble_of_a_leader_is_told(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        looked_at(server)
        lead(server, trouble="statuses can't be written: no right")

    with shell(tmp_path, before) as sh:
        said = sh.prints("status").splitlines()[0]
    assert said.endswith("It can't do its work: statuses can't be written: no right")


def test_without_the_right_to_read_the_lease_the_rest_goes_on(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        message = 'leases.coordination.k8s.io "computepool" is forbidden: User "jane" cannot get resource "leases"'
        sh.server.do(lambda server: server.fault("get", path="/leases/", status=403, message=message))
        lines = sh.prints("status").splitlines()
    assert lines[0].startswith(f"It is not known who leads: {message}.")
    assert "inference  Enforce  nvidia.com/gpu" in lines


@pytest.mark.parametrize(("status", "reason"), [("Unknown", "CacheStale"), ("False", "PassFailed")])
def test_figures_that_a_leader_can_not_bring_up_to_date_say_since_when(
    tmp_path: Path, status: str, reason: str
) -> None:
    found = condition("Ready", status, reason, "no")
    with shell(tmp_path, lambda server: reported(server, conditions=[found])) as sh:
        said = f" The figures are from {SINCE} or before: the operator can't see or judge the pool ({reason})."
        assert said in sh.prints("status").splitlines()


# -- forms for programs


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@pytest.mark.parametrize("columns", [0, 40])
def test_programs_get_the_leader_and_each_status_as_it_is(
    tmp_path: Path, form: str, read: Callable[[str], Any], columns: int
) -> None:
    with shell(tmp_path, looked_at) as sh:
        sh.columns = columns
        told = read(sh.prints("status", "--output", form))
        (item,) = sh.server.do(lambda server: server.items(COMPUTEPOOLS))
    assert (told["leader"]["leading"], told["leader"]["name"]) == ("Leads", "computepool-7f9c")
    (shown,) = told["pools"]
    assert (shown["name"], shown["mode"], shown["accelerator"]) == ("inference", "Enforce", "nvidia.com/gpu")
    assert shown["current"] is True
    assert shown["status"]["lastDecision"] == STATUS["lastDecision"]
    assert [found["reason"] for found in shown["status"]["conditions"]] == [
        "Reconciled",
        "PodsOverflow",
        "NoNodesMatch",
    ]
    assert shown["status"]["observedGeneration"] == item["metadata"]["generation"]


def test_a_context_of_the_kubeconfig_is_used(tmp_path: Path) -> None:
    with shell(tmp_path, looked_at) as sh:
        text = sh.kubeconfig.read_text().replace("current-context: x", "current-context: broken")
        sh.kubeconfig.write_text(text)
        assert "broken" in sh.fails("status")
        assert "inference" in sh.prints("status", "--context", "x")
        assert "nowhere" in sh.fails("status", "--context", "nowhere")
