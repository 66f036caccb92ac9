"""The patches of bursts and label fixes, the callbacks, and the handling of each failure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from computepool.act.pod_patcher import DOUBT_SECONDS, LABEL_FIXES_PARALLEL, PARALLEL, Written
from computepool.act.write_access import LEADER_POLICY, NotLeadingError, refuses_patch
from computepool.decide.plan import Burst, LabelFix
from computepool.kube.errors import BadRequest, Forbidden, Invalid, TooManyRequests, Unauthorized, Unavailable
from computepool.model.cluster import Offer, RefusedOffer
from tests.builders import NOW
from tests.fakes.apiserver import PODS
from tests.fakes.waiting import until
from tests.unit.act.objects import burst, pod, stored_pod
from tests.unit.act.writing import Writing, always, play

LABEL = "computepool.io/burst"


def several(w: Writing, count: int) -> tuple[Burst, ...]:
    return tuple(burst(stored_pod(w.server, f"web-{number}")) for number in range(count))


async def carried_out(w: Writing, *bursts: Burst) -> Any:
    return await w.writer.burst(w.writer.start(bursts), wanted=always, answered=w.answer)


# -- writes


def test_bursts_are_written_and_told_with_the_version_that_each_made() -> None:
    async def scenario(w: Writing) -> None:
        bursts = several(w, 3)
        outcome = await carried_out(w, *bursts)
        assert outcome.done == bursts
        for decided in bursts:
            stored = w.server.get(PODS, decided.pod.name, "default")
            assert stored["metadata"]["labels"][LABEL] == "nebius"
            assert w.told.versions[decided.pod.uid] == int(stored["metadata"]["resourceVersion"])

    play(scenario)


def test_each_burst_is_told_as_it_has_gone_through_and_not_when_the_last_one_has() -> None:
    async def scenario(w: Writing) -> None:
        answered = asyncio.Event()
        w.server.fault("patch", path="web-0", gate=answered)
        writing = asyncio.create_task(carried_out(w, *several(w, 3)))
        await until(lambda: w.answers == 2, "the two that are quick")
        assert not writing.done()
        answered.set()
        await writing
        assert w.answers == 3

    play(scenario)


def test_a_burst_counts_as_under_way_before_anything_is_sent() -> None:
    async def scenario(w: Writing) -> None:
        bursts = several(w, 2)
        w.writer.start(bursts)
        assert w.told.offers == {burst.pod.uid: Offer("nebius", NOW) for burst in bursts}
        assert w.server.count("patch") == 0

    play(scenario)


def test_the_answer_asked_for_is_only_the_metadata_and_the_writer_names_itself() -> None:
    async def scenario(w: Writing) -> None:
        await carried_out(w, *several(w, 1))
        (call,) = w.server.calls_of("patch")
        assert "as=PartialObjectMetadata" in call.headers["Accept"]
        assert call.query == {"fieldManager": "me"}

    play(scenario)


def test_many_bursts_are_written_in_parallel_within_the_limit() -> None:
    async def scenario(w: Writing) -> None:
        answered = asyncio.Event()
        w.server.fault("patch", times=1000, gate=answered)
        writing = asyncio.create_task(carried_out(w, *several(w, PARALLEL + 5)))
        await until(lambda: w.server.count("patch") == PARALLEL, "as many as may be")
        w.server.faults.clear()
        answered.set()
        outcome = await writing
        assert len(outcome.done) == w.server.count("patch") == PARALLEL + 5

    play(scenario)


# -- no writes


def test_nothing_is_called_without_the_lease() -> None:
    async def scenario(w: Writing) -> None:
        w.lease.held = False
        with pytest.raises(NotLeadingError):
            await carried_out(w, *several(w, 3))
        with pytest.raises(NotLeadingError):
            await w.writer.fix_labels([LabelFix(stored_pod(w.server, "marked", on="n1"), "nebius")])
        assert w.server.calls == []

    play(scenario)


def test_the_lease_is_asked_for_before_every_single_patch() -> None:
    async def scenario(w: Writing) -> None:
        w.lease.lost_after = PARALLEL
        with pytest.raises(NotLeadingError):
            await carried_out(w, *several(w, PARALLEL + 20))
        await until(lambda: w.lease.checks == PARALLEL + 20, "all had their turn")
        assert w.server.count("patch") <= PARALLEL

    play(scenario)


def test_bursts_that_are_no_longer_wanted_are_given_up_without_a_call() -> None:
    async def scenario(w: Writing) -> None:
        bursts = several(w, 2)
        outcome = await w.writer.burst(w.writer.start(bursts), wanted=lambda: False, answered=w.answer)
        assert w.server.calls == []
        assert outcome == Written()
        assert w.told.unwritten == [burst.pod.uid for burst in bursts]

    play(scenario)


def test_whether_they_are_wanted_is_asked_as_each_has_its_turn() -> None:
    async def scenario(w: Writing) -> None:
        answered = asyncio.Event()
        w.server.fault("patch", times=1000, gate=answered)
        bursts = w.writer.start(several(w, PARALLEL + 20))
        writing = asyncio.create_task(
            w.writer.burst(bursts, wanted=lambda: w.server.count("patch") < PARALLEL, answered=w.answer)
        )
        await until(lambda: w.server.count("patch") == PARALLEL, "as many as may be")
        answered.set()
        outcome = await writing
        assert len(outcome.done) == PARALLEL
        assert len(w.told.unwritten) == 20

    play(scenario)


# -- failures


def test_a_pod_that_is_gone_is_given_up() -> None:
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.server.delete(PODS, "web", "default")
        outcome = await carried_out(w, decided)
        assert outcome.gone == (decided,)
        assert outcome.refused == ()

    play(scenario)


def test_another_pod_of_the_same_name_is_left_alone() -> None:
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.server.delete(PODS, "web", "default")
        other = w.server.create(PODS, pod("web"))
        outcome = await carried_out(w, decided)
        assert outcome.gone == (decided,)
        assert w.server.get(PODS, "web", "default") == other

    play(scenario)


def test_a_pod_that_is_gone_is_not_released_before_the_watch_had_time_to_tell() -> None:
    # Released at once, the next pass would send it on again, as fast as the API server says no.
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.server.delete(PODS, "web", "default")
        await carried_out(w, decided)
        await until(lambda: w.delays.asked == [1.0], "a wait")
        assert w.told.unwritten == []
        w.delays.over.set()
        await until(lambda: w.told.unwritten == [decided.pod.uid], "its release")

    play(scenario)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadRequest), (403, Forbidden), (422, Invalid)],
    ids=["a webhook", "an admission policy", "validation"],
)
def test_a_patch_that_is_refused_as_it_is_keeps_its_place_once_and_then_leaves_the_pod_to_the_next_provider(
    status: int, error: type[Exception]
) -> None:
    async def scenario(w: Writing) -> None:
        refused, fine = several(w, 2)
        w.server.fault("patch", path="web-0", times=2, status=status, message="no, because")
        outcome = await carried_out(w, refused, fine)
        assert (outcome.done, outcome.failed) == ((fine,), ())
        assert w.answers == 1
        ((decided, why),) = outcome.refused
        assert decided is refused
        assert isinstance(why, error)
        assert "no, because" in str(why)
        assert w.told.refused_offers == [(refused.pod.uid, RefusedOffer("nebius", NOW, NOW + 1, str(why)))]
        assert w.told.unwritten == []
        await until(lambda: w.delays.asked == [1.0], "the wait")
        w.delays.over.set()
        await until(lambda: w.told.unwritten == [refused.pod.uid], "its release")
        await carried_out(w, refused)
        again = RefusedOffer("nebius", NOW, NOW + 2, str(why), times=2)
        assert w.told.refused_offers[1:] == [(refused.pod.uid, again)]
        assert w.told.unwritten == [refused.pod.uid] * 2
        assert w.delays.asked == [1.0], "no place stays taken"

    play(scenario)


@pytest.mark.parametrize(
    ("status", "error", "waited", "message"),
    [
        (401, Unauthorized, 1.0, "no, because"),
        (403, Forbidden, 1.0, 'no, because User "me" cannot patch resource "pods" in API group ""'),
        (429, TooManyRequests, 1.0, "no, because"),
        (500, Unavailable, DOUBT_SECONDS, "no, because"),
        (503, Unavailable, DOUBT_SECONDS, "no, because"),
    ],
)
def test_a_failure_that_any_patch_would_meet_is_told_and_the_pod_is_released_after_a_while(
    status: int, error: type[Exception], waited: float, message: str
) -> None:
    async def scenario(w: Writing) -> None:
        failed, fine = several(w, 2)
        w.server.fault("patch", path="web-0", status=status, message=message)
        outcome = await carried_out(w, failed, fine)
        assert (outcome.done, outcome.refused) == ((fine,), ())
        assert w.answers == 1
        ((decided, why),) = outcome.failed
        assert decided is failed
        assert isinstance(why, error)
        assert "no, because" in str(why)
        assert (w.told.unwritten, w.told.refused_offers) == ([], [])
        await until(lambda: w.delays.asked == [waited], "the wait")
        w.delays.over.set()
        await until(lambda: w.told.unwritten == [failed.pod.uid], "its release")

    play(scenario)


def test_the_policy_that_knows_the_leader_refuses_every_patch() -> None:
    message = f"ValidatingAdmissionPolicy '{LEADER_POLICY}' denied request: only the leader may do this"
    for error in (Forbidden(403, "Forbidden", message), Invalid(422, "Invalid", message)):
        assert not refuses_patch(error)


def test_a_connection_that_breaks_is_a_failure() -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", reset=True)
        ((_, why),) = (await carried_out(w, *several(w, 1))).failed
        assert isinstance(why, Unavailable)

    play(scenario)


def test_an_answer_that_does_not_come_in_time_is_a_failure() -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", gate=asyncio.Event())
        ((_, why),) = (await carried_out(w, *several(w, 1))).failed
        assert isinstance(why, Unavailable)
        assert "Timeout" in str(why)

    play(scenario, within=0.05)


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", b'{"metadata":{}}', b""])
def test_an_answer_that_makes_no_sense_is_a_failure(body: bytes) -> None:
    # A proxy may answer 200 with its own page. The pod must not stay under way.
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", body=body)
        decided = burst(stored_pod(w.server))
        ((failed, why),) = (await carried_out(w, decided)).failed
        assert failed is decided
        assert "not what a Kubernetes API server sends" in str(why)

    play(scenario)


def test_waits_grow_with_each_failure_of_the_same_pod_and_end_with_its_success() -> None:
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.delays.over.set()
        w.server.fault("patch", times=8, status=429)
        for _ in range(8):
            await carried_out(w, decided)
        await until(lambda: len(w.told.unwritten) == 8, "all waits are over")
        assert w.delays.asked == [1, 2, 4, 8, 16, 32, 60, 60]
        await carried_out(w, decided)
        w.server.fault("patch", status=429)
        await carried_out(w, decided)
        await until(lambda: len(w.told.unwritten) == 9, "the wait after a success")
        assert w.delays.asked[-1] == 1

    play(scenario)


def test_refusals_count_for_longer_each_time_by_provider() -> None:
    async def scenario(w: Writing) -> None:
        stored = stored_pod(w.server)
        w.delays.over.set()
        w.server.fault("patch", times=10, status=403)
        for provider in (*("nebius",) * 8, "crusoe", "crusoe"):
            await carried_out(w, burst(stored, provider))
            await until(lambda: len(w.told.unwritten) == len(w.told.refused_offers), "the release")
        found = [(refused.provider, refused.times, refused.until - refused.at) for _, refused in w.told.refused_offers]
        seconds = (1, 2, 4, 8, 16, 32, 60, 60)
        assert found[:8] == [("nebius", index + 1, seconds[index]) for index in range(8)]
        assert found[8:] == [("crusoe", 1, 1), ("crusoe", 2, 2)]

    play(scenario)


@pytest.mark.parametrize("status", [403, 429])
def test_a_day_of_refusals_is_survived(status: int) -> None:
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.delays.over.set()
        w.server.fault("patch", times=2000, status=status)
        for _ in range(1100):
            await carried_out(w, decided)
        await until(lambda: len(w.told.unwritten) == 1100, "all waits are over")

    play(scenario)


@pytest.mark.parametrize(("asked", "waited"), [(7, 7.0), (0, 1.0), (86400, 120.0)])
def test_the_patience_that_the_server_asks_for_is_had_up_to_a_limit(asked: int, waited: float) -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", status=429, retry_after=asked)
        await carried_out(w, *several(w, 1))
        await until(lambda: w.delays.asked == [waited], "the wait asked for")

    play(scenario)


def test_the_end_drops_the_waits() -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", times=3, status=500)
        await carried_out(w, *several(w, 3))
        await until(lambda: len(w.delays.asked) == 3, "three waits")
        await w.writer.settle()
        assert w.told.unwritten == []

    play(scenario)


# -- label fixes


def test_marks_put_labels_right() -> None:
    async def scenario(w: Writing) -> None:
        away = stored_pod(w.server, "away", on="n1")
        home = stored_pod(w.server, "home", on="a1", labels={LABEL: "nebius"})
        await w.writer.fix_labels([LabelFix(away, "nebius"), LabelFix(home, "")])
        assert w.server.get(PODS, "away", "default")["metadata"]["labels"] == {LABEL: "nebius"}
        assert w.server.get(PODS, "home", "default")["metadata"]["labels"] == {}

    play(scenario)


def test_a_mark_under_way_is_not_made_again() -> None:
    async def scenario(w: Writing) -> None:
        away = LabelFix(stored_pod(w.server, "away", on="n1"), "nebius")
        answered = asyncio.Event()
        w.server.fault("patch", gate=answered)
        first = asyncio.create_task(w.writer.fix_labels([away]))
        await until(lambda: w.server.count("patch") == 1, "the first is under way")
        await w.writer.fix_labels([away])
        answered.set()
        await first
        assert w.server.count("patch") == 1
        await w.writer.fix_labels([away])
        assert w.server.count("patch") == 2

    play(scenario)


def test_marks_leave_the_api_server_to_bursts() -> None:
    async def scenario(w: Writing) -> None:
        answered = asyncio.Event()
        w.server.fault("patch", times=100, gate=answered)
        label_fixes = [LabelFix(stored_pod(w.server, f"m{number}", on="n1"), "nebius") for number in range(10)]
        fixing = asyncio.create_task(w.writer.fix_labels(label_fixes))
        await until(lambda: w.server.count("patch") == LABEL_FIXES_PARALLEL, "a few label fixes")
        w.server.faults.clear()
        outcome = await carried_out(w, *several(w, 1))
        assert len(outcome.done) == 1
        answered.set()
        await fixing
        assert w.server.count("patch") == 11

    play(scenario)


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 404}, {"status": 500}, {"body": b"?"}])
def test_a_mark_that_fails_holds_up_no_other_and_is_asked_for_again_after_a_while(fault: dict[str, Any]) -> None:
    async def scenario(w: Writing) -> None:
        bad, good = (LabelFix(stored_pod(w.server, name, on="n1"), "nebius") for name in ("bad", "good"))
        w.server.fault("patch", path="bad", **fault)
        await w.writer.fix_labels([bad, good])
        assert w.server.get(PODS, "good", "default")["metadata"]["labels"] == {LABEL: "nebius"}
        await w.writer.fix_labels([bad])
        assert w.server.count("patch", "bad") == 1, "not while it waits"
        w.delays.over.set()
        await until(lambda: w.told.unwritten == [bad.pod.uid], "its release")
        await w.writer.fix_labels([bad])
        assert w.server.get(PODS, "bad", "default")["metadata"]["labels"] == {LABEL: "nebius"}

    play(scenario)


def test_the_label_fixes_that_are_written_are_returned() -> None:
    async def scenario(w: Writing) -> None:
        bad, good = (LabelFix(stored_pod(w.server, name, on="n1"), "nebius") for name in ("bad", "good"))
        w.server.fault("patch", path="bad", status=403)
        assert await w.writer.fix_labels([bad, good]) == (good,)

    play(scenario)
