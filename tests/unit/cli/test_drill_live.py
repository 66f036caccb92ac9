"""Live drills: when they are refused, what they write, and how they end."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from computepool.cli import drill_live, stored_pool
from computepool.cli.console import make_console
from computepool.cli.drill_field import DrillError
from computepool.cli.drill_live import Window, is_taken_up, say, why_over
from computepool.cli.drill_refusals import compare
from computepool.cli.drill_text import Told
from computepool.cli.stored_pool import Stored
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.simulate.drill import Course, Fate, How
from tests.builders import NOW, pool
from tests.builders import provider as spec_provider
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.faults import Verb
from tests.unit.act.objects import provider
from tests.unit.app.cluster import make_pool
from tests.unit.cli.drilling import fate
from tests.unit.cli.leases import lead
from tests.unit.cli.serving import Shell, shell
from tests.unit.cli.test_drill_command import cluster

HELD = ("drill", "inference", "--lose", "aws", "--live", "--yes", "inference/aws")


def stamp(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds").replace("+00:00", "Z")


def window(since: float, until: float) -> dict[str, Any]:
    """A drill; minutes from now."""
    return {"since": stamp(since), "until": stamp(until), "by": "alice@laptop"}


def ready(
    *,
    degraded: str = "False",
    breaker: str = "Closed",
    other: dict[str, Any] | None = None,
    leads: bool = True,
    free: int = 8,
    **spec: Any,
) -> Callable[[FakeApiServer], None]:
    """A pool on which the operator has reported, and a leader."""

    def before(server: FakeApiServer) -> None:
        cluster(free, **spec)(server)
        conditions = [
            {"type": "Ready", "status": "True", "reason": "Reconciled", "lastTransitionTime": stamp(-60)},
            {"type": "Degraded", "status": degraded, "reason": "AllWell", "lastTransitionTime": stamp(-60)},
        ]
        closed = {"state": breaker, **({} if breaker == "Closed" else {"reason": "ProviderSilent", "since": stamp(-9)})}
        entries = [{"name": "aws", "breaker": closed}, {"name": "nebius", "breaker": other or {"state": "Closed"}}]
        item = server.get(COMPUTEPOOLS, "inference")
        server.update(COMPUTEPOOLS, {**item, "status": {"conditions": conditions, "providers": entries}})
        if leads:
            lead(server)

    return before


def drills(sh: Shell) -> dict[str, Any]:
    stored = sh.server.do(lambda server: server.get(COMPUTEPOOLS, "inference"))
    return {entry["name"]: entry["drill"] for entry in stored["spec"]["providers"] if "drill" in entry}


def refused(sh: Shell, *words: str) -> str:
    result = sh.run(*words)
    assert result.exit_code == 1, result.output
    assert sh.server.do(lambda server: server.calls_of("patch")) == []
    return " ".join(result.stderr.split())


@contextmanager
def renewing(sh: Shell) -> Iterator[None]:
    """A leader that renews its Lease."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(0.2):
            sh.server.do(lead)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


FAILED = {"state": "Open", "reason": "ProviderSilent", "since": "2026-11-23T05:00:00Z"}
DRAINED = {**FAILED, "reason": "Drained"}


# -- refusals


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (ready(mode="Observe"), "the pool is in mode Observe, so nothing would move"),
        (ready(degraded="True"), "the pool is Degraded already"),
        (ready(breaker="Open"), "aws is not in full use: its breaker is Open (ProviderSilent)"),
        (ready(leads=False), "Nobody leads"),
        (ready(other=FAILED), "nebius has failed, and pods could not go there: its breaker is Open (ProviderSilent)"),
        (ready(free=4), "1 pod would be stranded, see above"),
        (cluster(), "the operator has not reported on this pool yet"),
    ],
    ids=["observe", "degraded", "open", "no-leader", "other-failed", "stranded", "not-reported"],
)
def test_it_is_refused_with_the_reason_and_nothing_is_written(
    tmp_path: Path, before: Callable[[FakeApiServer], None], why: str
) -> None:
    with shell(tmp_path, before) as sh:
        assert why in refused(sh, *HELD)


def test_it_is_refused_while_another_drill_runs_or_the_provider_is_drained(tmp_path: Path) -> None:
    def other(server: FakeApiServer) -> None:
        ready()(server)
        item = server.get(COMPUTEPOOLS, "inference")
        item["spec"]["providers"][1]["drill"] = window(-5, 20)
        server.update(COMPUTEPOOLS, item)

    with shell(tmp_path, other) as sh:
        said = refused(sh, *HELD)
        assert "a drill of nebius by alice@laptop is under way until" in said
        assert "computepool drill --restore inference" in said

    def drained(server: FakeApiServer) -> None:
        ready()(server)
        item = server.get(COMPUTEPOOLS, "inference")
        item["spec"]["providers"][0]["drain"] = True
        server.update(COMPUTEPOOLS, item)

    with shell(tmp_path, drained) as sh:
        assert "aws is drained already" in refused(sh, *HELD)


def test_a_provider_without_pods_is_refused_and_so_is_a_plan_that_takes_longer_than_the_drill(tmp_path: Path) -> None:
    with shell(tmp_path, ready()) as sh:
        said = refused(sh, "drill", "inference", "--lose", "nebius", "--live", "--yes", "inference/nebius")
        assert "no pod of the pool that could leave runs on nebius" in said
    with shell(tmp_path, ready(failover={"minDwellSeconds": 0, "maxConcurrentMoves": 1})) as sh:
        said = refused(sh, *HELD, "--within", "1")
        assert "the plan takes" in said
        assert "give it longer with --within MINUTES" in said


def test_a_report_that_could_not_be_written_is_refused_before_anything_else(tmp_path: Path) -> None:
    with shell(tmp_path, ready()) as sh:
        assert "there is no folder" in refused(sh, *HELD, "--report", str(tmp_path / "none" / "drill.html"))


def test_a_leader_that_does_not_renew_its_lease_holds_no_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("computepool.cli.leader.DURATION", 1.0)
    with shell(tmp_path, ready()) as sh:
        assert "does not renew its Lease" in refused(sh, *HELD)


@pytest.mark.parametrize("words", [(), ("--yes", "inference/nebius"), ("--yes", "yes")], ids=str)
def test_it_is_refused_without_the_right_confirmation(tmp_path: Path, words: tuple[str, ...]) -> None:
    with shell(tmp_path, ready()) as sh:
        said = refused(sh, "drill", "inference", "--lose", "aws", "--live", *words)
        assert ("this is no terminal" in said) or ("does not name inference/aws" in said)


def test_contradicting_options_are_refused(tmp_path: Path) -> None:
    with shell(tmp_path, ready()) as sh:
        two = sh.run("drill", "inference", "--lose", "aws", "--lose", "nebius")
        assert (two.exit_code, "a drill loses one provider" in " ".join(two.stderr.split())) == (2, True), two.stderr
        for words in (("--restore", "--live"), ("--restore", "--lose", "aws"), ()):
            assert sh.run("drill", "inference", *words).exit_code == 2


# -- begin and end


PUT_BACK = "The drill has ended, and the pool's spec is as before."


def put_back(sh: Shell, monkeypatch: pytest.MonkeyPatch, *, lasts: float = 60.0) -> str:
    """What the command prints while it ends the drill of nebius, which lasts for some seconds more."""
    monkeypatch.setattr(drill_live, "RETRY_SECONDS", 0.05)
    drill = drills(sh)["nebius"]
    out = io.StringIO()

    async def run() -> None:
        async with ApiClient(static_access(sh.server.url)) as client:
            console = Console(file=out, width=1000)
            await drill_live.put_back(client, "inference", drill, console, time.monotonic() + lasts)

    asyncio.run(run())
    return out.getvalue()


def drilled(server: FakeApiServer) -> None:
    make_pool(server, "aws", provider("nebius", drill=window(-5, 20)), "crusoe")


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403, "reason": "Forbidden"},
        {"status": 401, "reason": "Unauthorized"},
        {"status": 400, "reason": "BadRequest"},
        {"status": 422, "reason": "Invalid", "times": 30},
        {"status": 503, "reason": "ServiceUnavailable"},
        {"status": 429, "reason": "TooManyRequests"},
    ],
    ids=lambda fault: str(fault["status"]),
)
@pytest.mark.parametrize("verb", ["get", "patch"])
def test_a_drill_is_ended_whatever_the_api_server_answers_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], verb: Verb
) -> None:
    monkeypatch.setattr(stored_pool, "PAUSE_SECONDS", 0.01)
    with shell(tmp_path, drilled) as sh:
        sh.server.do(lambda server: server.fault(verb, path="/inference", **{"times": 3, **fault}))
        assert PUT_BACK in put_back(sh, monkeypatch)
        assert drills(sh) == {}


def test_a_page_of_a_proxy_is_no_proof_that_the_pool_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shell(tmp_path, drilled) as sh:
        sh.server.do(lambda server: server.fault("get", path="/inference", status=404, reason="", times=2))
        said = put_back(sh, monkeypatch)
        assert "deleted" not in said
        assert PUT_BACK in said
        assert drills(sh) == {}


def test_a_drill_whose_time_is_over_is_left_with_the_command_that_removes_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shell(tmp_path, drilled) as sh:
        sh.server.do(lambda server: server.fault("patch", status=403, reason="Forbidden", times=1000))
        said = put_back(sh, monkeypatch, lasts=0.3)
        assert "has no effect any more. Its field is left" in said
        assert "computepool drill --restore inference" in said


def test_a_patch_whose_answer_is_lost_has_begun_the_drill_and_it_is_ended(tmp_path: Path) -> None:
    with shell(tmp_path, ready()) as sh:
        before = deepcopy(sh.server.do(lambda server: server.get(COMPUTEPOOLS, "inference"))["spec"])

        def begin(server: FakeApiServer) -> None:
            # The server takes the patch in, and its answer is lost.
            call = server.calls_of("patch")[-1]
            item = deepcopy(server.get(COMPUTEPOOLS, "inference"))
            item["spec"]["providers"][0]["drill"] = call.json[-1]["value"]
            server.update(COMPUTEPOOLS, item)

        sh.server.do(lambda server: server.fault("patch", first=begin, status=503, reason="ServiceUnavailable"))
        with renewing(sh):
            result = sh.run(*HELD)
        assert result.exit_code == 1, result.output
        assert len(sh.server.do(lambda server: server.calls_of("patch"))) > 1
        assert sh.server.do(lambda server: server.get(COMPUTEPOOLS, "inference"))["spec"] == before


def test_a_drill_ends_by_its_time_and_says_so_although_the_operator_has_ended_it_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill_live, "TAKE_UP_SECONDS", 1.5)
    monkeypatch.setattr(drill_live, "POLL_SECONDS", 0.1)
    monkeypatch.setattr("computepool.cli.drill.Window", lambda since, _: Window(since, since + 4.0))
    with shell(tmp_path, ready()) as sh, renewing(sh):
        done = threading.Event()

        def operate() -> None:
            """Take the drill up, and note after a second that it is over."""
            while not done.wait(0.05):
                if found := drills(sh).get("aws"):
                    sh.server.do(lambda server: _report_drill(server, {"since": found["since"]}))
                    done.wait(1.0)
                    sh.server.do(lambda server: _report_drill(server, None))
                    return

        thread = threading.Thread(target=operate)
        thread.start()
        result = sh.run(*HELD)
        done.set()
        thread.join()
        assert result.exit_code == 3, result.output
        assert "Its time was over." in result.stdout
        assert drills(sh) == {}


def _report_drill(server: FakeApiServer, drill: dict[str, Any] | None) -> None:
    item = server.get(COMPUTEPOOLS, "inference")
    entry = item["status"]["providers"][0]
    entry.pop("drill", None)
    if drill is not None:
        entry["drill"] = drill
    server.update(COMPUTEPOOLS, item)


def test_restore_removes_every_drill_under_way_or_over_and_nothing_else(tmp_path: Path) -> None:
    providers = (provider("aws", drill=window(-60, -30)), provider("nebius", drill=window(-5, 20)), "crusoe")
    with shell(tmp_path, lambda server: make_pool(server, *providers)) as sh:
        said = sh.prints("drill", "--restore")
        assert said.splitlines() == [
            "The drill of aws of pool inference has ended. The pool's spec is as before.",
            "The drill of nebius of pool inference has ended. The pool's spec is as before.",
        ]
        assert drills(sh) == {}
        assert sh.prints("drill", "--restore", "inference") == "There is no drill. Nothing was changed."


def test_restore_survives_that_another_person_changes_the_order_of_the_providers_meanwhile(tmp_path: Path) -> None:
    def turn(server: FakeApiServer) -> None:
        item = server.get(COMPUTEPOOLS, "inference")
        first, *rest = item["spec"]["providers"]
        server.update(COMPUTEPOOLS, {**item, "spec": {**item["spec"], "providers": [first, *reversed(rest)]}})

    providers = ("aws", provider("nebius", drill=window(-5, 20)), "crusoe")
    with shell(tmp_path, lambda server: make_pool(server, *providers)) as sh:
        sh.server.do(lambda server: server.fault("patch", first=turn))
        sh.prints("drill", "--restore", "inference")
        stored = sh.server.do(lambda server: server.get(COMPUTEPOOLS, "inference"))
        assert [entry["name"] for entry in stored["spec"]["providers"]] == ["aws", "crusoe", "nebius"]
        assert drills(sh) == {}


def test_restore_of_all_pools_goes_on_after_a_pool_that_fails(tmp_path: Path) -> None:
    def two(server: FakeApiServer) -> None:
        make_pool(server, "aws", provider("nebius", drill=window(-5, 20)))
        item = server.get(COMPUTEPOOLS, "inference")
        server.create(COMPUTEPOOLS, {**item, "metadata": {"name": "batch"}})

    with shell(tmp_path, two) as sh:
        sh.server.do(lambda server: server.fault("patch", path="/batch", status=403, reason="Forbidden"))
        result = sh.run("drill", "--restore")
        assert result.exit_code == 1
        assert "not all drills were ended. batch:" in " ".join(result.stderr.split())
        assert "The drill of nebius of pool inference has ended" in result.stdout
        assert drills(sh) == {}


def test_the_end_of_a_drill_gives_up_the_ownership_of_the_list_of_providers(tmp_path: Path) -> None:
    def owned(server: FakeApiServer) -> None:
        make_pool(server, "aws", provider("nebius", drill=window(-5, 20)))
        item = server.get(COMPUTEPOOLS, "inference")
        managers = ("argocd", "computepool-drill", "computepool")
        item["metadata"]["managedFields"] = [{"manager": manager} for manager in managers]
        server.update(COMPUTEPOOLS, item)

    with shell(tmp_path, owned) as sh:
        sh.prints("drill", "--restore", "inference")
        stored = sh.server.do(lambda server: server.get(COMPUTEPOOLS, "inference"))
        assert [entry["manager"] for entry in stored["metadata"]["managedFields"]] == ["argocd", "computepool"]


# -- why a drill can't go on


DRILL = {"since": "2026-11-23T05:00:00Z", "until": "2026-11-23T05:30:00Z", "by": "alice@laptop"}


def pool_with(drill: dict[str, Any] | None, taken_up: dict[str, Any] | None = None, **spec: Any) -> Stored:
    providers = [{"name": name, "nodeSelector": {"matchLabels": {"p": name}}} for name in ("aws", "nebius")]
    if drill is not None:
        providers[0]["drill"] = drill
    report = {"name": "aws"} if taken_up is None else {"name": "aws", "drill": taken_up}
    return Stored(
        {
            "metadata": {"name": "inference", "uid": "1", "generation": 1},
            "spec": {"providers": providers, **spec},
            "status": {"providers": [report]},
        }
    )


TAKEN_UP = {"since": DRILL["since"]}


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (None, "The pool was deleted."),
        (pool_with(None, TAKEN_UP), "has changed or removed the field drill"),
        (pool_with({**DRILL, "until": "2026-11-23T05:20:00Z"}), "has changed or removed the field drill"),
        (pool_with(DRILL, TAKEN_UP, mode="Observe"), "The pool is in mode Observe now"),
        (
            pool_with(DRILL, {**TAKEN_UP, "stopped": "nebius fails (ProviderSilent)"}),
            "The operator has stopped it: nebius fails (ProviderSilent).",
        ),
    ],
)
def test_it_ends_once_it_can_not_go_on_and_says_why(stored: Stored | None, why: str) -> None:
    end = why_over(stored, "aws", DRILL)
    assert end is not None
    assert why in end.why
    assert not end.well


def test_it_goes_on_while_the_operator_holds_it_and_before_the_operator_had_time_to_take_it_up() -> None:
    assert why_over(pool_with(DRILL, TAKEN_UP), "aws", DRILL) is None
    assert is_taken_up(pool_with(DRILL, TAKEN_UP), "aws", DRILL)
    for record in (None, {"since": "2026-11-23T04:00:00Z"}):
        assert why_over(pool_with(DRILL, record), "aws", DRILL) is None
        assert not is_taken_up(pool_with(DRILL, record), "aws", DRILL)


def test_a_drill_that_no_operator_takes_up_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill_live, "TAKE_UP_SECONDS", 0.5)
    with shell(tmp_path, ready()) as sh, renewing(sh):
        result = sh.run(*HELD)
        assert result.exit_code == 3, result.output
        assert "No operator has taken it up." in result.stdout
        assert drills(sh) == {}


def test_a_plan_that_became_worse_at_the_prompt_is_refused() -> None:
    def told(*fates: Fate) -> Told:
        course = Course(
            how=How.DRAIN,
            provider="aws",
            fates=fates,
            turns=(),
            seconds=9.0,
            unfinished=False,
            halted="",
            refusals={},
            exhausted=False,
            cost_before=None,
            cost_after=None,
            start_seconds=0.0,
        )
        return Told(pool(spec_provider("aws"), spec_provider("nebius")), course, (), NOW)

    one, stays, two = fate("w1", "web"), fate("w1", "web", stays=True), fate("w2", "web")
    compare(told(one, two), told(one))
    compare(told(stays), told(one))
    for worse in (told(stays), told(one, two)):
        with pytest.raises(DrillError, match="the plan is another by now"):
            compare(told(one), worse)


def test_a_console_whose_reader_is_gone_falls_silent_and_ends_nothing() -> None:
    reads, writes = os.pipe()
    with os.fdopen(writes, "w", buffering=1) as pipe:
        console = make_console(lasting=True)
        console.file = pipe
        os.close(reads)
        say(console, "first")
        say(console, "second")
        assert console.quiet

    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    full = make_console(lasting=True)
    full.file = Full()
    say(full, "a line that nobody can keep")


def test_a_script_can_fail_on_stranded_pods(tmp_path: Path) -> None:
    dry = ("drill", "inference", "--lose", "aws", "--output", "json")
    with shell(tmp_path, ready(free=4)) as sh:
        result = sh.run(*dry, "--fail-on", "stranded")
        assert (result.exit_code, json.loads(result.stdout)["stranded"]) == (3, 1)
        assert sh.run(*dry).exit_code == 0
    with shell(tmp_path, ready()) as sh:
        assert sh.run(*dry, "--fail-on", "stranded").exit_code == 0


# -- the report


def test_the_report_is_one_page_with_everything_and_loads_nothing(tmp_path: Path) -> None:
    file = tmp_path / "drill.html"
    with shell(tmp_path, ready(free=4)) as sh:
        said = sh.prints("drill", "inference", "--lose", "aws", "--report", str(file))
    assert f"The report is in {file}." in said
    page = file.read_text(encoding="utf-8")
    assert "1 pod with 6 accelerators would be stranded." in page
    assert page.count("default/web-1") >= 2
    assert "nebius: TooLarge" in page
    assert "$" not in page
    assert not any(word in page for word in ("http:", "https:", "<script", "<link", "@import"))
