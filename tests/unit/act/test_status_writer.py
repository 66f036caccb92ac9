"""Which changes of a status are written at once, which wait, and the handling of each failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from computepool.act.status_writer import StatusWriter, status_patch
from computepool.act.write_access import WriteAccess
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from computepool.model.api import (
    AdmissionStatus,
    ComputePool,
    Condition,
    ConditionStatus,
    Decision,
    Pending,
    PoolStatus,
    TolerationSpec,
)
from tests.builders import POOL
from tests.fakes.apiserver import COMPUTEPOOLS, FakeApiServer
from tests.fakes.patches import merge_patched
from tests.fakes.waiting import PATIENCE, until
from tests.unit.act.objects import pool_record, stored_pool
from tests.unit.act.writing import Lease

AT = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
NEVER = 1000.0


def status(pods: int = 0, *, saturated: bool = False, admitted: bool = False, **fields: Any) -> PoolStatus:
    """One of many: `pods` is of no urgency, the other two are."""
    condition = Condition(
        type="Saturated",
        status=ConditionStatus.TRUE if saturated else ConditionStatus.FALSE,
        reason="PodsOverflow",
        last_transition_time=AT,
    )
    tolerations = (TolerationSpec(key="computepool.io/provider", value="nebius"),) if admitted else ()
    return PoolStatus(
        conditions=(condition,),
        pending=Pending(pods=pods),
        admission=AdmissionStatus(tolerations=tolerations),
        **fields,
    )


@dataclass
class Writing:
    """What a test looks at; `pool` is the pool as the operator holds it."""

    server: FakeApiServer
    statuses: StatusWriter
    lease: Lease
    pool: ComputePool

    def take(self, pool: ComputePool) -> None:
        self.pool = pool

    def stored(self) -> PoolStatus:
        return pool_record(self.server.get(COMPUTEPOOLS, POOL)).status

    @property
    def writes(self) -> int:
        return self.server.count("patch", "/status")

    async def shows(self, wanted: PoolStatus) -> None:
        await until(lambda: self.stored() == wanted, "the status wanted")

    async def begin(self) -> None:
        """Have a first status written and taken in."""
        self.statuses.want(self.pool, status())
        await until(lambda: self.pool.status == status(), "the first status")
        await self.statuses.flush()


@asynccontextmanager
async def writing(*, calm: float = 0.0, retry: float = 0.0) -> AsyncIterator[Writing]:
    async with FakeApiServer() as server, ApiClient(static_access(server.url), timeout=PATIENCE) as client:
        lease = Lease()
        pool = stored_pool(server)
        made: list[Writing] = []
        statuses = StatusWriter(
            WriteAccess(client, lease, Runtime(rng=random.Random(1)), "me"),
            lambda fresh: made[0].take(fresh),
            calm_seconds=calm,
            retry_seconds=retry,
        )
        made.append(Writing(server, statuses, lease, pool))
        yield made[0]
        async with asyncio.timeout(PATIENCE):
            await statuses.flush()


def play(scenario: Callable[[Writing], Awaitable[None]], **how: float) -> None:
    async def run() -> None:
        async with writing(**how) as w:
            await scenario(w)

    asyncio.run(run())


# -- when


@pytest.mark.parametrize("urgent", [status(saturated=True), status(admitted=True)])
def test_a_condition_that_turns_and_admission_go_out_at_once(urgent: PoolStatus) -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        w.statuses.want(w.pool, urgent)
        await w.shows(urgent)

    play(scenario, calm=NEVER)


def test_counts_wait_and_only_the_last_of_them_is_written() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        for pods in range(1, 10):
            w.statuses.want(w.pool, status(pods))
            await asyncio.sleep(0)
        await w.shows(status(9))
        assert w.writes == 2

    play(scenario, calm=0.2)


def test_what_is_urgent_takes_what_waits_along() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        w.statuses.want(w.pool, status(3))
        w.statuses.want(w.pool, status(4, admitted=True))
        await w.shows(status(4, admitted=True))
        assert w.writes == 2

    play(scenario, calm=NEVER)


def test_the_end_writes_what_still_waits() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        w.statuses.want(w.pool, status(5))
        await asyncio.sleep(0)
        await w.statuses.flush()
        assert w.stored() == status(5)

    play(scenario, calm=NEVER)


# -- whether


def test_nothing_is_written_where_nothing_has_changed() -> None:
    async def scenario(w: Writing) -> None:
        w.statuses.want(w.pool, w.pool.status)
        await w.statuses.flush()
        assert w.server.calls == []

    play(scenario)


def test_what_was_wanted_and_is_no_longer_is_not_written() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        w.statuses.want(w.pool, status(1))
        w.statuses.want(w.pool, status())
        await w.statuses.flush()
        assert w.writes == 1

    play(scenario, calm=NEVER)


def test_a_return_to_what_was_before_is_written_where_the_change_is_under_way() -> None:
    # Compared with what the operator holds, nothing is to be written; but the API server is about to hold another.
    async def scenario(w: Writing) -> None:
        await w.begin()
        answered = asyncio.Event()
        w.server.fault("patch", gate=answered)
        w.statuses.want(w.pool, status(1))
        await until(lambda: w.writes == 2, "the change is under way")
        w.statuses.want(w.pool, status())
        answered.set()
        await until(lambda: w.writes == 3, "the return")
        await w.shows(status())
        assert w.server.count("get", COMPUTEPOOLS) == 0, "the version it made itself is no conflict"

    play(scenario)


def test_a_return_to_what_was_before_is_written_where_nobody_knows_what_became_of_the_change() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        # The write arrives, and its answer is lost.
        w.server.fault("patch", status=504)
        w.server.update(COMPUTEPOOLS, {**w.server.get(COMPUTEPOOLS, POOL), "status": status(1).to_object()})
        w.statuses.want(w.pool, status(1))
        await until(lambda: w.writes == 2, "the write that got lost")
        w.statuses.want(w.pool, status())
        await w.shows(status())

    play(scenario, retry=0.05)


def test_what_is_wanted_while_the_last_write_is_being_answered_is_written_too() -> None:
    async def scenario(w: Writing) -> None:
        for pods in range(1, 30):
            w.statuses.want(w.pool, status(pods))
            await until(lambda wanted=pods: w.stored() == status(wanted), f"{pods}")  # type: ignore[misc]
        assert w.writes == 29

    play(scenario)


def test_a_pool_that_is_gone_is_forgotten_with_what_was_wanted_of_it() -> None:
    async def scenario(w: Writing) -> None:
        w.statuses.want(w.pool, status())
        w.statuses.forget(POOL)
        await w.statuses.flush()
        assert w.server.calls == []

    play(scenario, calm=NEVER)


def test_a_pool_forgotten_while_a_retry_waits_is_not_written_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", status=500)
        w.statuses.want(w.pool, status())
        await until(lambda: "trying again" in caplog.text, "the write that fails")
        w.statuses.forget(POOL)
        await w.statuses.flush()
        assert w.writes == 1

    play(scenario, retry=0.1)


def test_a_field_that_is_no_longer_there_is_removed() -> None:
    decided = Decision(time=AT, action="Burst", reason="PrimarySaturated")

    async def scenario(w: Writing) -> None:
        first = status(cost_per_hour="2.95", last_decision=decided)
        w.statuses.want(w.pool, first)
        await w.shows(first)
        w.statuses.want(w.pool, status(last_decision=decided))
        await w.shows(status(last_decision=decided))
        assert "costPerHour" not in w.server.get(COMPUTEPOOLS, POOL)["status"]

    play(scenario)


def test_the_patch_turns_one_status_into_the_other() -> None:
    before = status(1, cost_per_hour="1.00")
    after = status(2, saturated=True)
    pool = stored_pool(FakeApiServer()).model_copy(update={"status": before})
    patched = merge_patched({"status": before.to_object()}, {"status": status_patch(pool, after)["status"]})
    assert PoolStatus.model_validate(patched["status"]) == after
    assert patched["status"] == after.to_object()


# -- leadership


def test_nothing_is_called_without_the_lease() -> None:
    async def scenario(w: Writing) -> None:
        w.lease.held = False
        w.statuses.want(w.pool, status())
        await w.statuses.flush()
        assert w.server.calls == []

    play(scenario)


# -- failures


def test_a_pool_that_somebody_changed_meanwhile_is_read_and_written_at_once() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        stale = w.pool
        labelled = w.server.get(COMPUTEPOOLS, POOL)
        w.server.update(COMPUTEPOOLS, {**labelled, "metadata": {**labelled["metadata"], "labels": {"a": "b"}}})
        w.statuses.want(stale, status(admitted=True))
        await w.shows(status(admitted=True))
        await until(lambda: w.pool.status == status(admitted=True), "it is taken in")
        assert w.server.get(COMPUTEPOOLS, POOL)["metadata"]["labels"] == {"a": "b"}

    # A second's wait after the conflict would be a second without admission.
    play(scenario, calm=NEVER)


def test_a_status_of_an_older_spec_is_dropped_and_the_newer_pool_taken_in() -> None:
    async def scenario(w: Writing) -> None:
        edited = w.server.get(COMPUTEPOOLS, POOL)
        w.server.update(COMPUTEPOOLS, {**edited, "spec": {**edited["spec"], "mode": "Observe"}})
        w.statuses.want(w.pool, status(admitted=True))
        await until(lambda: w.pool.metadata.generation == 2, "the newer pool")
        await w.statuses.flush()
        assert w.stored() == PoolStatus()
        assert w.writes == 1

    play(scenario)


def test_a_status_of_a_pool_of_the_same_name_that_was_made_anew_is_dropped() -> None:
    async def scenario(w: Writing) -> None:
        w.server.delete(COMPUTEPOOLS, POOL)
        stored_pool(w.server)
        w.statuses.want(w.pool, status(admitted=True))
        await w.statuses.flush()
        assert w.stored() == PoolStatus()

    play(scenario)


def test_a_pool_that_is_gone_is_let_go() -> None:
    async def scenario(w: Writing) -> None:
        w.server.delete(COMPUTEPOOLS, POOL)
        w.statuses.want(w.pool, status())
        await w.statuses.flush()
        assert w.writes == 1

    play(scenario)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403},
        {"status": 422},
        {"status": 429},
        {"status": 500},
        {"reset": True},
        {"body": b"<html>"},
        {"body": b"[]"},
        {"body": b"{}"},
    ],
)
def test_every_failure_is_tried_again(fault: dict[str, Any]) -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", times=2, **fault)
        w.statuses.want(w.pool, status())
        await w.shows(status())
        assert w.writes == 3

    play(scenario)


def test_conflicts_without_end_are_tried_again_less_and_less_often() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        w.server.fault("patch", path="/status", times=6, status=409, reason="Conflict")
        began = asyncio.get_running_loop().time()
        w.statuses.want(w.pool, status(saturated=True))
        await w.shows(status(saturated=True))
        assert asyncio.get_running_loop().time() - began > 0.1

    play(scenario, retry=0.1)


def test_a_failure_to_read_after_a_conflict_is_tried_again() -> None:
    async def scenario(w: Writing) -> None:
        labelled = w.server.get(COMPUTEPOOLS, POOL)
        w.server.update(COMPUTEPOOLS, {**labelled, "metadata": {**labelled["metadata"], "labels": {"a": "b"}}})
        w.server.fault("get", status=500)
        w.statuses.want(w.pool, status())
        await w.shows(status())

    play(scenario)


def test_of_statuses_wanted_while_a_failure_waits_the_last_is_written() -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", status=500)
        w.statuses.want(w.pool, status(1))
        await until(lambda: w.writes == 1, "the first")
        w.statuses.want(w.pool, status(2))
        await w.shows(status(2))
        assert w.writes == 2

    play(scenario, retry=0.05)


def test_a_writer_that_is_cut_off_starts_nothing_anew() -> None:
    async def scenario(w: Writing) -> None:
        await w.begin()
        others = asyncio.all_tasks()
        w.statuses.want(w.pool, status(1))
        (task,) = asyncio.all_tasks() - others
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert asyncio.all_tasks() <= others

    play(scenario, calm=NEVER)
