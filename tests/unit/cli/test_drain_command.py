"""`computepool drain`: what it writes, what it says, and that it never drains another provider."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.drain import DrainError, parse_target
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.unit.act.objects import provider
from tests.unit.app.cluster import make_pool
from tests.unit.cli.serving import Shell, shell

WELL = {"type": "Ready", "status": "True", "reason": "Reconciled", "lastTransitionTime": "2026-11-23T04:00:00Z"}


def reported(*providers: Any, **spec: Any) -> Callable[[FakeApiServer], None]:
    """A pool on which the operator has reported: 6 burst pods on nebius, 3 accelerators free on crusoe."""

    def before(server: FakeApiServer) -> None:
        item = make_pool(server, *(providers or ("aws", "nebius", "crusoe")), **spec)
        counts: dict[str, dict[str, Any]] = {
            "aws": {"accelerators": {"allocatable": 8, "allocated": 8}},
            "nebius": {"accelerators": {"allocatable": 8, "allocated": 6, "free": 2}, "burstPods": 6},
            "crusoe": {"accelerators": {"allocatable": 4, "allocated": 1, "free": 3}, "burstPods": 1},
        }
        names = [entry["name"] for entry in item["spec"]["providers"]]
        status = {"conditions": [WELL], "providers": [{"name": name, **counts[name]} for name in names]}
        server.update(COMPUTEPOOLS, {**item, "status": status})

    return before


def providers(sh: Shell) -> dict[str, dict[str, Any]]:
    """The providers of the stored pool by name: the fields about a drain."""
    spec = sh.server.do(lambda server: server.get(COMPUTEPOOLS, "inference"))["spec"]
    return {
        entry["name"]: {key: value for key, value in entry.items() if key.startswith("drain")}
        for entry in spec["providers"]
    }


def patches(sh: Shell) -> list[Any]:
    return sh.server.do(lambda server: [call for call in server.calls if call.verb == "patch"])


def test_it_drains_the_provider_that_is_named_and_says_what_follows(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        assert sh.prints("drain", "inference/nebius").splitlines() == [
            "nebius of pool inference is drained: no new pod is sent there.",
            "6 pods of the pool run there. Running pods stay until they end; with --move they leave.",
            "If the pool's manifest is kept in git, set drain and drainRunningPods there too. "
            "Otherwise the next sync undoes this.",
        ]
        assert providers(sh) == {"aws": {}, "nebius": {"drain": True, "drainRunningPods": "Leave"}, "crusoe": {}}


def test_with_move_running_pods_leave_and_it_says_where_there_is_room(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        lines = sh.prints("drain", "inference/nebius", "--move").splitlines()
        assert "Running pods leave as moves by choice, within all limits, if they fit elsewhere." in lines[1]
        assert "A pod stays until 10 min after it was sent or moved there (failback.minDwellSeconds)." in lines[1]
        assert lines[2] == "Elsewhere: free accelerators: 3 on crusoe."
        assert providers(sh)["nebius"] == {"drain": True, "drainRunningPods": "Move"}


def test_where_there_is_no_room_it_says_that_pods_stay(tmp_path: Path) -> None:
    with shell(tmp_path, reported("aws", "nebius")) as sh:
        assert "Elsewhere no accelerator is free now" in sh.prints("drain", "inference/nebius", "--move")


def test_a_provider_that_makes_nodes_is_room_and_one_that_is_drained_is_not(tmp_path: Path) -> None:
    def before(server: FakeApiServer) -> None:
        reported("aws", "nebius", provider("crusoe", capacity={"type": "OnDemand"}))(server)
        item = server.get(COMPUTEPOOLS, "inference")
        item["status"]["providers"][1]["breaker"] = {"state": "Open", "reason": "Drained"}
        server.update(COMPUTEPOOLS, item)

    with shell(tmp_path, before) as sh:
        lines = sh.prints("drain", "inference/aws").splitlines()
        assert lines[1].startswith("It is the primary, and 8 accelerators there are held.")
        assert lines[2] == "Elsewhere: free accelerators: 3 on crusoe; crusoe makes nodes on demand."


def test_the_drain_ends_and_both_fields_are_gone(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        sh.prints("drain", "inference/nebius", "--move")
        text = sh.prints("drain", "inference/nebius", "--undo")
        assert text.startswith("The drain of nebius of pool inference has ended. The provider is on trial then")
        assert "remove drain and drainRunningPods there too" in text
        assert providers(sh)["nebius"] == {"drain": False}


def test_without_move_the_pods_of_a_drain_with_move_stay_from_now_on(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        sh.prints("drain", "inference/nebius", "--move")
        sh.prints("drain", "inference/nebius")
        assert providers(sh)["nebius"]["drainRunningPods"] == "Leave"


@pytest.mark.parametrize(("words", "now"), [((), "drained already"), (("--undo",), "not drained")])
def test_a_second_time_it_changes_nothing(tmp_path: Path, words: tuple[str, ...], now: str) -> None:
    with shell(tmp_path, reported()) as sh:
        if not words:
            sh.prints("drain", "inference/nebius")
        before = len(patches(sh))
        text = sh.prints("drain", "inference/nebius", *words)
        assert text == f"nebius of pool inference is {now}. Nothing was changed."
        assert len(patches(sh)) == before


def test_a_dry_run_asks_the_api_server_and_changes_nothing(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        text = sh.prints("drain", "inference/nebius", "--dry-run")
        assert text.startswith("nebius of pool inference would be drained: no new pod is sent there.")
        assert text.endswith("Nothing was changed.")
        (asked,) = patches(sh)
        assert asked.query["dryRun"] == "All"
        assert asked.query["fieldValidation"] == "Strict"


def test_in_observe_and_before_the_first_report_it_says_so(tmp_path: Path) -> None:
    with shell(tmp_path, lambda server: make_pool(server, mode="Observe")) as sh:
        text = sh.prints("drain", "inference/nebius")
        assert "The operator has not reported on this pool yet" in text
        assert "The pool is in mode Observe: the operator only reports what it would do." in text


# -- other writers


def edit_before_patch(sh: Shell, edit: Callable[[FakeApiServer], None]) -> None:
    """Let somebody else change the pool after the command has read it, before its first patch arrives."""
    sh.server.do(lambda server: server.fault("patch", first=edit))


def reorder(server: FakeApiServer) -> None:
    item = server.get(COMPUTEPOOLS, "inference")
    aws, nebius, crusoe = item["spec"]["providers"]
    server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], "providers": [aws, crusoe, nebius]}})


def recreate(server: FakeApiServer) -> None:
    server.delete(COMPUTEPOOLS, "inference")
    reported("aws", "crusoe", "nebius")(server)


def insert(server: FakeApiServer) -> None:
    item = server.get(COMPUTEPOOLS, "inference")
    aws, *others = item["spec"]["providers"]
    added = [aws, {**provider("nebius-2")}, *others]
    server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], "providers": added}})


@pytest.mark.parametrize("edit", [reorder, recreate, insert])
def test_an_edit_of_the_list_at_the_same_moment_drains_no_other_provider(
    tmp_path: Path, edit: Callable[[FakeApiServer], None]
) -> None:
    with shell(tmp_path, reported()) as sh:
        edit_before_patch(sh, edit)
        sh.prints("drain", "inference/nebius")
        drained = {name for name, fields in providers(sh).items() if fields.get("drain")}
        assert drained == {"nebius"}
        assert len(patches(sh)) == 2


def test_a_provider_that_somebody_removes_at_the_same_moment_is_named(tmp_path: Path) -> None:
    def remove(server: FakeApiServer) -> None:
        item = server.get(COMPUTEPOOLS, "inference")
        kept = [entry for entry in item["spec"]["providers"] if entry["name"] != "nebius"]
        server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], "providers": kept}})

    with shell(tmp_path, reported()) as sh:
        edit_before_patch(sh, remove)
        assert sh.fails("drain", "inference/nebius") == "pool 'inference' has no provider 'nebius'; it has aws, crusoe"
        assert not any(fields.get("drain") for fields in providers(sh).values())


def test_a_refusal_that_nobody_else_caused_is_told_once(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        refused = "ComputePool.computepool.io is invalid: spec.providers: no"
        sh.server.do(lambda server: server.fault("patch", times=9, status=422, message=refused))
        assert refused in sh.fails("drain", "inference/nebius")
        assert len(patches(sh)) == 1


# -- what goes wrong


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("inference/lambda", "pool 'inference' has no provider 'lambda'; it has aws, nebius, crusoe"),
        ("training/nebius", "there is no ComputePool 'training'; there is inference"),
    ],
)
def test_a_name_that_is_none_is_told_with_those_that_are(tmp_path: Path, target: str, says: str) -> None:
    with shell(tmp_path, reported()) as sh:
        assert sh.fails("drain", target) == says


NONE = ["inference", "inference/", "/nebius", "a/b/c", "", "/", "inference#/nebius", "inference?x/nebius"]


@pytest.mark.parametrize("target", [*NONE, " inference/nebius", "inference/nebius#", "inference/neb%69us", "../nebius"])
def test_what_names_no_provider_is_a_wrong_use_of_the_command(tmp_path: Path, target: str) -> None:
    with shell(tmp_path, reported()) as sh:
        ended = sh.run("drain", target)
        assert ended.exit_code == 2
        assert "give POOL/PROVIDER, such as inference/nebius" in " ".join(ended.stderr.replace("│", " ").split())
        assert sh.run("drain", target, "--dry-run").exit_code == 2
        assert patches(sh) == []


@given(st.text() | st.from_regex(r"[-a-z0-9.#?%&=/ ]{0,9}/[-a-z0-9.#?%&=/ ]{0,9}", fullmatch=True))
def test_a_name_is_one_part_of_a_path_and_nothing_else(text: str) -> None:
    try:
        pool, name = parse_target(text)
    except DrainError:
        return
    assert f"{pool}/{name}" == text
    url = urlsplit(f"https://localhost/pools/{pool}?dryRun=All")
    assert (url.path, url.query, url.fragment) == (f"/pools/{pool}", "dryRun=All", "")


def test_move_and_undo_exclude_each_other(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        assert sh.run("drain", "inference/nebius", "--move", "--undo").exit_code == 2
        assert patches(sh) == []


def test_a_right_that_is_missing_is_named_for_this_command_alone(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        message = 'computepools.computepool.io "inference" is forbidden: User "jane" cannot patch resource'
        sh.server.do(lambda server: server.fault("patch", times=9, status=403, message=message))
        assert sh.fails("drain", "inference/nebius") == (
            f"{message}. This command needs the right to get and patch computepools, which the cluster role `admin` "
            "has."
        )


def test_a_crd_that_is_too_old_for_the_command_is_told(tmp_path: Path) -> None:
    with shell(tmp_path, reported()) as sh:
        message = 'strict decoding error: unknown field "spec.providers[1].drainRunningPods"'
        sh.server.do(lambda server: server.fault("patch", times=9, status=400, message=message))
        said = sh.fails("drain", "inference/nebius")
        assert said.startswith("the cluster's CRD is older than this command: upgrade it first")


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b"[]"])
def test_an_answer_that_is_no_object_is_told(tmp_path: Path, answer: bytes) -> None:
    with shell(tmp_path, reported()) as sh:
        sh.server.do(lambda server: server.fault("get", path=COMPUTEPOOLS, times=9, body=answer))
        assert "not what a Kubernetes API server sends" in sh.fails("drain", "inference/nebius")
        assert patches(sh) == []


def test_a_pool_that_this_version_cannot_read_is_left_alone(tmp_path: Path) -> None:
    with shell(tmp_path, lambda server: make_pool(server, mode="Later")) as sh:
        assert "this version can't read the pool" in sh.fails("drain", "inference/nebius")
