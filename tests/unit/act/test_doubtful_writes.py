"""Patches without a clear answer: they may have been stored, so their places stay taken until that is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from computepool.act.pod_patcher import DOUBT_SECONDS
from computepool.decide.plan import LabelFix
from tests.fakes.apiserver import PODS
from tests.fakes.waiting import until
from tests.unit.act.objects import burst, pod_record, stored_pod
from tests.unit.act.writing import Writing, always, play


async def carried_out(w: Writing, *bursts: Any) -> Any:
    return await w.writer.burst(w.writer.start(bursts), wanted=always, answered=w.answer)


@pytest.mark.parametrize("fault", [{"status": 504}, {"reset": True}, {"body": b"<html>Welcome</html>"}, {"delay": 5.0}])
def test_a_patch_without_a_clear_answer_keeps_its_place_for_longer_than_one_that_was_refused(
    fault: dict[str, Any],
) -> None:
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.server.fault("patch", **fault)
        await carried_out(w, decided)
        await until(lambda: w.delays.asked == [DOUBT_SECONDS], "the wait")
        assert (w.told.in_doubt, w.told.unwritten) == ([decided.pod.uid], [])
        w.delays.over.set()
        await until(lambda: w.told.unwritten == [decided.pod.uid], "its release")

    play(scenario, within=0.2)


@pytest.mark.parametrize("status", [403, 404, 409, 422, 429])
def test_what_was_clearly_refused_is_in_no_doubt(status: int) -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", status=status)
        await carried_out(w, burst(stored_pod(w.server)))
        await until(lambda: w.delays.asked == [1.0], "the wait")
        assert w.told.in_doubt == []

    play(scenario)


def test_the_next_offer_is_not_released_by_the_one_before_that_was_in_doubt() -> None:
    async def scenario(w: Writing) -> None:
        decided = burst(stored_pod(w.server))
        w.server.fault("patch", reset=True)
        await carried_out(w, decided)
        await until(lambda: w.delays.asked == [DOUBT_SECONDS], "the wait")
        # It was seen on the pod after all, and its provider had no room in the end.
        w.server.fault("patch", gate=(gate := asyncio.Event()))
        seen = pod_record(w.server.get(PODS, "web", "default"))
        sending = asyncio.create_task(carried_out(w, burst(seen, "crusoe")))
        await until(lambda: w.server.count("patch") == 2, "the next offer is under way")
        w.delays.over.set()
        gate.set()
        await sending
        assert w.told.unwritten == []
        assert decided.pod.uid in w.told.versions

    play(scenario)


def test_a_label_that_may_have_been_corrected_is_tried_again_soon() -> None:
    async def scenario(w: Writing) -> None:
        w.server.fault("patch", reset=True)
        await w.writer.fix_labels([LabelFix(stored_pod(w.server, on="n1"), "nebius")])
        await until(lambda: w.delays.asked == [1.0], "the wait")
        assert w.told.in_doubt == []

    play(scenario)
