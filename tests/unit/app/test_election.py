"""Leader election: at most one writes at any moment, whatever is paused, lost or refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from computepool.act.write_access import NotLeadingError
from computepool.app.election import Election, LostLeadershipError
from computepool.app.election import LeaseCandidate as Asking
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.runtime import Runtime
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import PATIENCE, until

LEASES = "/apis/coordination.k8s.io/v1/leases"
MONDAY = 1_800_000_000.0


@dataclass
class Clock:
    """A monotonic clock that is moved by whoever sleeps."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class LeaseCandidate:
    """One process that wants to lead; `together` are all of them."""

    election: Election
    sleeps: list[float] = field(default_factory=list)


class Stage:
    """A fake API server, a shared clock, and candidates; `led` has the index of each candidate that has led."""

    def __init__(self, server: FakeApiServer, client: ApiClient) -> None:
        self.server = server
        self.clock = Clock()
        self.candidates: list[LeaseCandidate] = []
        self.led: set[int] = set()
        self._client = client
        self._tasks: list[asyncio.Task[None]] = []

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let something run beside the test, to its end at the latest."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        """End the background tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def candidate(self, name: str, *, moves_time: bool = True) -> LeaseCandidate:
        """A new process. Its sleeps take no time, and move the clock unless another's do."""

        async def sleep(seconds: float) -> None:
            made.sleeps.append(seconds)
            self.clock.now += seconds if moves_time else 0.0
            self.check()
            await asyncio.sleep(0)

        made = LeaseCandidate(
            Election(
                self._client,
                Asking(namespace="computepool-system", lease="computepool", identity=name),
                Runtime(
                    steady=self.clock,
                    wall=lambda: MONDAY + self.clock.now - 1000.0,
                    sleep=sleep,
                    rng=random.Random(1),
                ),
            )
        )
        self.candidates.append(made)
        return made

    async def leader(self, name: str) -> LeaseCandidate:
        """A process that leads."""
        made = self.candidate(name)
        await made.election.acquire()
        return made

    def check(self) -> None:
        """Invariant 7."""
        leading = [index for index, candidate in enumerate(self.candidates) if candidate.election.leading]
        assert len(leading) <= 1
        self.led.update(leading)

    @property
    def lease(self) -> dict[str, Any]:
        """The Lease's spec as the API server has it."""
        spec: dict[str, Any] = self.server.get(LEASES, "computepool", "computepool-system")["spec"]
        return spec


def play(scenario: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url), timeout=PATIENCE) as client:
            stage = Stage(server, client)
            try:
                await scenario(stage)
            finally:
                await stage.close()

    asyncio.run(run())


def may_write(candidate: LeaseCandidate) -> bool:
    try:
        candidate.election.check()
    except NotLeadingError:
        return False
    return True


# -- taking the lease


def test_the_first_candidate_makes_the_lease_and_leads() -> None:
    async def scenario(stage: Stage) -> None:
        a = stage.candidate("a")
        assert not may_write(a)
        await a.election.acquire()
        assert may_write(a)
        assert stage.lease == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": "2027-01-15T08:00:00.000000Z",
            "renewTime": "2027-01-15T08:00:00.000000Z",
            "leaseTransitions": 0,
        }

    play(scenario)


def test_a_second_candidate_waits_for_as_long_as_the_first_renews() -> None:
    async def scenario(stage: Stage) -> None:
        a, b = await stage.leader("a"), stage.candidate("b", moves_time=False)
        tasks = [stage.background(a.election.hold()), stage.background(b.election.acquire())]
        await until(lambda: min(len(a.sleeps), len(b.sleeps)) > 30 or any(task.done() for task in tasks))
        assert not any(task.done() for task in tasks)
        assert (a.election.leading, b.election.leading) == (True, False)
        assert stage.clock.now - 1000.0 > 60

    play(scenario)


def test_a_silent_leaders_lease_is_taken_once_it_has_stood_still_for_its_duration_and_not_before() -> None:
    async def scenario(stage: Stage) -> None:
        a, b = await stage.leader("a"), stage.candidate("b")
        began = stage.clock.now
        await b.election.acquire()
        assert stage.clock.now - began >= 15
        assert not may_write(a)
        assert may_write(b)
        assert (stage.lease["holderIdentity"], stage.lease["leaseTransitions"]) == ("b", 1)

    play(scenario)


def test_a_lease_is_given_the_duration_that_its_holder_has_written() -> None:
    async def scenario(stage: Stage) -> None:
        spec = {"holderIdentity": "other", "leaseDurationSeconds": 60, "leaseTransitions": 4}
        meta = {"name": "computepool", "namespace": "computepool-system"}
        stage.server.create(LEASES, {"metadata": meta, "spec": spec})
        began = stage.clock.now
        b = stage.candidate("b")
        await b.election.acquire()
        assert stage.clock.now - began >= 60
        assert stage.lease["leaseTransitions"] == 5

    play(scenario)


def test_two_candidates_that_start_at_once_find_one_leader() -> None:
    async def scenario(stage: Stage) -> None:
        answered = asyncio.Event()
        stage.server.fault("create", gate=answered, times=2)
        a, b = stage.candidate("a"), stage.candidate("b")
        tasks = [stage.background(candidate.election.acquire()) for candidate in (a, b)]
        await until(lambda: stage.server.count("create") == 2, "both to have found no lease")
        answered.set()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stage.check()
        assert stage.lease["holderIdentity"] == ("a" if a.election.leading else "b")

    play(scenario)


def test_a_process_that_starts_anew_under_its_old_name_need_not_wait() -> None:
    async def scenario(stage: Stage) -> None:
        await stage.leader("a")
        stage.clock.now += 11
        again = await stage.leader("a")
        assert again.sleeps == []
        assert stage.lease["leaseTransitions"] == 0

    play(scenario)


def test_what_goes_wrong_while_waiting_is_told_and_tried_again() -> None:
    async def scenario(stage: Stage) -> None:
        errors: list[str] = []
        stage.server.fault("get", status=403, reason="Forbidden", message="leases is forbidden")
        stage.server.fault("get", body=b"<html>")
        stage.server.fault("create", status=500)
        stage.server.fault("create", status=409, reason="AlreadyExists")
        a = stage.candidate("a")
        taking = stage.background(a.election.acquire())
        while not taking.done():
            if a.election.error and (not errors or errors[-1] != a.election.error):
                errors.append(a.election.error)
            await asyncio.sleep(0)
        await taking
        assert "leases is forbidden" in errors[0]
        assert len(errors) == 4
        assert len(a.sleeps) == 4
        assert a.election.error == ""

    play(scenario)


# -- holding it


async def held_for(stage: Stage, candidate: LeaseCandidate, renewals: int) -> None:
    """Hold until so many renewals were tried; whatever ends it earlier is raised."""
    holding = stage.background(candidate.election.hold())
    await until(lambda: len(candidate.sleeps) > renewals or holding.done())
    holding.cancel()
    if holding.done():
        holding.result()


def test_renewing_moves_the_time_and_nothing_else() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        before = stage.lease
        await held_for(stage, a, 5)
        renewed = stage.lease
        assert renewed.pop("renewTime") > before.pop("renewTime")
        assert renewed == before
        assert stage.server.count("patch", LEASES.rsplit("/", 1)[-1]) >= 5
        assert may_write(a)

    play(scenario)


def test_a_process_that_was_paused_for_longer_than_it_may_be_sure_knows_it_before_it_asks_anybody() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        calls = len(stage.server.calls)
        stage.clock.now += 9.9
        assert may_write(a)
        stage.clock.now += 0.2
        assert not may_write(a)
        assert len(stage.server.calls) == calls

    play(scenario)


def test_a_paused_process_whose_lease_nobody_took_leads_on_after_its_next_renewal() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        stage.clock.now += 100
        assert not may_write(a)
        await held_for(stage, a, 2)
        assert may_write(a)

    play(scenario)


def test_a_paused_process_whose_lease_was_taken_ends() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        b = stage.candidate("b")
        await b.election.acquire()
        with pytest.raises(LostLeadershipError, match="another process holds the lease"):
            await a.election.hold()
        assert (may_write(a), may_write(b)) == (False, True)
        assert stage.lease["holderIdentity"] == "b"

    play(scenario)


def test_certainty_counts_from_when_a_renewal_was_sent_not_from_its_answer() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        answered = asyncio.Event()
        stage.server.fault("patch", gate=answered)
        holding = stage.background(a.election.hold())
        await until(lambda: stage.server.count("patch") == 1)
        sent = stage.clock.now
        stage.server.fault("get", reset=True, times=1000)
        stage.clock.now = sent + 9
        answered.set()
        with pytest.raises(LostLeadershipError):
            await holding
        assert stage.server.calls_of("patch")[0].status == 200
        assert 10 <= stage.clock.now - sent < 13

    play(scenario)


def test_a_connection_that_is_lost_for_a_while_costs_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        for _ in range(3):
            stage.server.fault("get", reset=True)
            stage.server.fault("patch", reset=True)
        await held_for(stage, a, 12)
        assert may_write(a)
        assert a.election.error == ""

    play(scenario)


def test_a_connection_that_stays_lost_ends_the_process_when_its_time_is_over_with_what_went_wrong() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        renewed = stage.clock.now
        await stage.server.stop()
        with pytest.raises(LostLeadershipError, match="NoConnection"):
            await a.election.hold()
        assert 10 <= stage.clock.now - renewed < 12
        assert not may_write(a)
        await stage.server.start()

    play(scenario)


@pytest.mark.parametrize("status", [409, 429, 500, 403])
def test_a_renewal_that_is_refused_is_tried_again_while_there_is_time(status: int) -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        stage.server.fault("patch", status=status, reason="Conflict" if status == 409 else "", times=2)
        await held_for(stage, a, 6)
        assert may_write(a)

    play(scenario)


def test_a_renewal_that_never_succeeds_ends_the_process() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        stage.server.fault("patch", status=403, message="no longer allowed", times=1000)
        with pytest.raises(LostLeadershipError, match="no longer allowed"):
            await a.election.hold()

    play(scenario)


def test_a_lease_that_somebody_deleted_is_made_anew() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        stage.server.delete(LEASES, "computepool", "computepool-system")
        await held_for(stage, a, 2)
        assert may_write(a)
        assert stage.lease["holderIdentity"] == "a"

    play(scenario)


def test_a_renewal_over_what_somebody_else_wrote_meanwhile_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        answered = asyncio.Event()
        stage.server.fault("patch", gate=answered)
        holding = stage.background(a.election.hold())
        await until(lambda: stage.server.count("patch") == 1)
        lease = stage.server.get(LEASES, "computepool", "computepool-system")
        stage.server.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": "thief"}})
        answered.set()
        with pytest.raises(LostLeadershipError):
            await holding
        assert stage.lease["holderIdentity"] == "thief"

    play(scenario)


# -- giving it back


def test_a_lease_given_back_is_taken_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        await a.election.release()
        assert not may_write(a)
        assert stage.lease["holderIdentity"] == ""
        b = stage.candidate("b")
        await b.election.acquire()
        assert b.sleeps == []
        assert stage.lease["leaseTransitions"] == 1

    play(scenario)


def test_who_does_not_lead_has_nothing_to_give_back() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        stage.clock.now += 11
        calls = len(stage.server.calls)
        await a.election.release()
        await stage.candidate("b").election.release()
        assert len(stage.server.calls) == calls

    play(scenario)


def test_a_lease_that_another_has_taken_is_not_given_back_for_it() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        lease = stage.server.get(LEASES, "computepool", "computepool-system")
        stage.server.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": "b"}})
        await a.election.release()
        assert stage.lease["holderIdentity"] == "b"

    play(scenario)


def test_a_lease_that_can_not_be_given_back_is_left_to_expire() -> None:
    async def scenario(stage: Stage) -> None:
        a = await stage.leader("a")
        stage.server.fault("get", body=b"<html>")
        await a.election.release()
        assert not may_write(a)
        b = await stage.leader("b")
        stage.server.fault("patch", status=500)
        await b.election.release()
        assert not may_write(b)

    play(scenario)


async def round_done(stage: Stage, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until a candidate has slept and all faults have happened; raise the error that ended a candidate."""

    def rounds() -> int:
        return sum(len(candidate.sleeps) for candidate in stage.candidates)

    before = rounds()
    await until(lambda: (rounds() > before and not stage.server.faults) or any(task.done() for task in tasks))
    for task in tasks:
        if task.done():
            task.result()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_paused_or_cut_off_there_are_never_two_leaders(seed: int) -> None:
    """Two candidates come and go, sleep, are paused and refused at random; every sleep checks who leads."""
    chance = random.Random(seed)

    async def live(candidate: LeaseCandidate) -> None:
        while True:
            await candidate.election.acquire()
            try:
                await candidate.election.hold()
            except LostLeadershipError:
                continue

    async def scenario(stage: Stage) -> None:
        a, b = stage.candidate("a"), stage.candidate("b")
        tasks = [stage.background(live(candidate)) for candidate in (a, b)]
        for _ in range(60):
            stage.clock.now += chance.choice((0, 0, 3, 12, 30))
            stage.check()
            if chance.random() < 0.5:
                stage.server.fault(chance.choice(("get", "patch")), reset=True, times=chance.randint(1, 12))
            await round_done(stage, tasks)
        assert stage.led

    play(scenario)
