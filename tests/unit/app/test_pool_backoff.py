"""A pool whose passes fail: it is left as it is, and all others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from computepool.act.write_access import NotLeadingError
from computepool.app.pool_backoff import FIRST_SECONDS, LONGEST_SECONDS, PoolBackoff
from computepool.decide.invariants import Breach, InvariantBreachError
from computepool.model.api import Condition
from computepool.model.snapshot import Snapshot
from computepool.observe.store import Store
from computepool.report.metrics import Metrics
from computepool.report.pass_report import PassReport
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, NODES, PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import Json, node, pod, pool, provider
from tests.unit.app.cluster import conditions, full, sent
from tests.unit.app.playing import Day, play
from tests.unit.app.process import Process
from tests.unit.app.running import Running, Site

OTHER = "other"
KEY = "computepool.io/unavailable"
HEALTH = {"unhealthyPercent": 100, "clearSeconds": 0}


class BrittleStore(Store):
    """Fails wherever it is asked for a pool that a test has poisoned."""

    error: Exception | None = None

    def snapshot(self, name: str, *, stale: str = "") -> Snapshot:
        if name == POOL and self.error is not None:
            raise self.error
        return super().snapshot(name, stale=stale)


class BrittleMetrics(Metrics):
    """Can't tell of one pool."""

    def passed(self, report: PassReport, conditions: Iterable[Condition] = ()) -> None:
        if report.snapshot.pool.name == POOL:
            raise RuntimeError("told to fail")
        super().passed(report, conditions)


def two_pools(server: FakeApiServer, _day: Day | None = None) -> None:
    """Make pools that each have the pods with their name as label."""
    full(server)
    server.create(NODES, node("n2", "nebius"))
    for name in (POOL, OTHER):
        workloads = {"podSelector": {"matchLabels": {"app": name}}}
        priced = (provider(provider_name, pricePerAcceleratorHour="2") for provider_name in ("aws", "nebius", "crusoe"))
        server.create(COMPUTEPOOLS, pool(*priced, name=name, workloads=workloads, health=HEALTH))


def wait_for(server: FakeApiServer, name: str, of: str, gpus: int = 1) -> None:
    """Create a pod that finds no room at home."""
    server.create(PODS, pod(name, gpus, labels={"app": of}))


def ready(server: FakeApiServer, name: str) -> bool:
    return "Ready" in {condition["type"] for condition in status_of(server, name).get("conditions", [])}


def status_of(server: FakeApiServer, name: str) -> Json:
    found: Json = server.get(COMPUTEPOOLS, name).get("status", {})
    return found


def turn(server: FakeApiServer, name: str, ready: str) -> None:
    """Have a node say whether it is ready."""
    item = server.get(NODES, name)
    conditions = [{"type": "Ready", "status": ready}]
    server.update(NODES, {**item, "status": {**item["status"], "conditions": conditions}})


def _unhealthy(server: FakeApiServer, name: str) -> int:
    return sum(provider["unhealthyNodes"] for provider in status_of(server, name)["providers"])


def failures(process: Process, name: str = POOL) -> float:
    return process.metrics.registry.get_sample_value("computepool_pass_failures_total", {"pool": name}) or 0.0


def tainted(server: FakeApiServer) -> list[str]:
    return [
        item["metadata"]["name"]
        for item in server.items(NODES)
        if any(taint["key"] == KEY for taint in item["spec"]["taints"])
    ]


def failed(server: FakeApiServer) -> bool:
    """Whether the pool's status says that its pass failed."""
    found = conditions(server)
    return (found.get("Ready"), found.get("Degraded")) == (("False", "PassFailed"), ("True", "PassFailed"))


def degraded(server: FakeApiServer) -> str:
    return next(str(one["message"]) for one in status_of(server, POOL)["conditions"] if one["type"] == "Degraded")


def poison(process: Process, error: Exception | None) -> None:
    assert isinstance(process.store, BrittleStore)
    process.store.error = error


# -- the whole


def test_whatever_is_asked_for_or_written_by_hand_no_pool_ends_the_leader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "computepool")

    def before(server: FakeApiServer) -> None:
        two_pools(server)
        wait_for(server, "greedy", POOL, 10_000_001)
        item = server.get(COMPUTEPOOLS, POOL)
        item["spec"]["budget"] = {"perDay": "100"}
        now = datetime.now(UTC)
        budget = {"day": f"{now:%Y-%m-%d}", "spent": "1e40", "time": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
        server.update(COMPUTEPOOLS, {**item, "status": {"budget": budget}})
        wait_for(server, "web", OTHER)

    async def scenario(r: Running) -> None:
        await until(lambda: ready(r.server, POOL) and "web" in sent(r.server), "both are dealt with")
        assert status_of(r.server, POOL)["pending"] == {"pods": 1, "accelerators": 10_000_000, "gated": 0}
        assert status_of(r.server, POOL)["budget"]["spent"] == "0.000000"
        assert await r.end() == 0

    Site(tmp_path, caplog).play(scenario, before)


def test_where_the_pass_over_one_pool_fails_only_that_is_told_of_it_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lines() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.getMessage().startswith("pass failed")]

    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        await until(lambda: ready(server, POOL) and ready(server, OTHER), "both are told of")
        turn(server, "n2", "Unknown")
        await until(lambda: tainted(server) == ["n2"], "it is quarantined")
        await until(lambda: _unhealthy(server, POOL) == _unhealthy(server, OTHER) == 1, "and told of")
        poison(process, RuntimeError("told to fail"))
        told = status_of(server, POOL)
        turn(server, "n2", "True")
        wait_for(server, "one", POOL)
        wait_for(server, "two", OTHER)
        await until(lambda: list(sent(server)) == ["two"] and not _unhealthy(server, OTHER), "the other goes on")
        await until(lambda: failures(process) == 1, "it is counted")
        day.silence += FIRST_SECONDS + 0.5
        wait_for(server, "three", POOL)
        await until(lambda: failures(process) == 2, "it is tried again")
        await until(lambda: failed(server), "it is told")
        rest = ("providers", "admission", "pending", "lastDecision")
        assert tainted(server) == ["n2"]
        assert [status_of(server, POOL).get(part) for part in rest] == [told.get(part) for part in rest]
        assert conditions(server).keys() >= {"Ready", "Saturated", "Bursting", "Degraded", "Resilient"}
        assert "RuntimeError: told to fail" in degraded(server)
        assert "one" not in sent(server)
        assert status_of(server, OTHER)["conditions"][0]["status"] == "True"
        poison(process, None)
        day.silence += 3 * FIRST_SECONDS
        wait_for(server, "four", POOL)
        await until(lambda: {"one", "three", "four"} <= set(sent(server)), "it is dealt with again")
        await until(lambda: tainted(server) == [], "its node too")
        await until(lambda: not failed(server) and conditions(server)["Ready"][0] == "True", "and that is told")
        assert failures(process) == 2
        assert [vars(line)["fields"]["seconds"] for line in lines()] == [1.0, 2.0]
        assert lines()[0].exc_info

    play(scenario, two_pools, store=BrittleStore)


def test_a_decision_that_breaks_invariants_is_logged_with_its_facts_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaches = (Breach(2, "pods go to nebius, which is not used"), Breach(5, "pod default/a leaves for nowhere"))

    def counted(process: Process, invariant: str) -> float | None:
        labels = {"pool": POOL, "invariant": invariant}
        return process.metrics.registry.get_sample_value("computepool_invariant_breaches_total", labels)

    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        await until(lambda: ready(server, POOL), "it is dealt with")
        poison(process, InvariantBreachError(breaches))
        wait_for(server, "one", POOL)
        await until(lambda: failures(process) == 1, "the pass fails")
        assert [counted(process, number) for number in ("2", "5", "1")] == [1, 1, 0]
        assert sent(server) == {}
        await until(lambda: failed(server), "it is told")
        assert "InvariantBreachError: invariant 2: pods go to nebius" in degraded(server)
        lines = [vars(record)["fields"] for record in caplog.records if "breaks an invariant" in record.getMessage()]
        assert [(line["invariant"], line["facts"]) for line in lines] == [
            (breach.invariant, breach.facts) for breach in breaches
        ]

    play(scenario, two_pools, store=BrittleStore)


def test_where_only_the_report_fails_nothing_ends_either(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        wait_for(server, "two", OTHER)
        await until(lambda: ready(server, OTHER) and "two" in sent(server), "the other goes on")
        await until(lambda: failures(process) >= 1, "it is counted")
        await until(lambda: failed(server), "it is told")
        assert conditions(server).keys() == {"Ready", "Degraded"}
        assert process.ended is None

    play(scenario, two_pools, metrics=BrittleMetrics)


def test_the_end_of_leadership_is_not_such_a_failure() -> None:
    async def scenario(server: FakeApiServer, process: Process, _day: Day) -> None:
        await until(lambda: ready(server, POOL), "it is dealt with")
        poison(process, NotLeadingError("told to lose the lease"))
        wait_for(server, "one", POOL)
        await until(lambda: process.ended is not None, "it ends")
        assert failures(process) == 0

    with pytest.raises(NotLeadingError):
        play(scenario, two_pools, store=BrittleStore)


# -- how long


def test_each_failure_in_a_row_doubles_the_wait_up_to_the_longest_and_success_starts_over() -> None:
    now = [100.0]
    backoff = PoolBackoff(lambda: now[0])
    assert (backoff.remaining("a"), backoff.failing("a")) == (0.0, False)
    assert [backoff.failed("a") for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    now[0] += 20.0
    assert (backoff.remaining("a"), backoff.remaining("b"), backoff.failing("a")) == (40.0, 0.0, True)
    now[0] += 50.0
    assert backoff.remaining("a") == 0.0
    backoff.forget("a")
    assert (backoff.failed("a")) == 1.0


def test_any_number_of_failures_is_waited_for_the_longest() -> None:
    backoff = PoolBackoff(lambda: 0.0)
    assert {backoff.failed("a") for _ in range(5000)} >= {LONGEST_SECONDS}
