"""New answers of signals make a pass at once if they may change a verdict. Otherwise they wait for another pass."""

from __future__ import annotations

from computepool.model.signals import Answer, Samples, SignalData
from computepool.observe.signal_poller import INTERVAL_SECONDS
from tests.builders import POOL
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import Json
from tests.unit.app.cluster import make_pool, status, touch_node
from tests.unit.app.playing import Day, passes, passes_of, play
from tests.unit.app.process import Process

QUEUE: Json = {"name": "queue", "query": "depth", "enter": "5", "exit": "1", "sustainSeconds": 0, "clearSeconds": 0}


def say(process: Process, day: Day, value: float | None) -> None:
    """Let the source have answered that now."""
    answer = Answer(day(), whole=None if value is None else Samples((value,)))
    assert process.store.put_signals(POOL, {"saturation/queue": SignalData(answer)})
    process.parts.reconciler.answered(POOL)


def shown(server: FakeApiServer) -> tuple[str, str]:
    """The verdict and the value in the status."""
    (found,) = status(server).get("signals") or [{"verdict": "", "value": ""}]
    return found["verdict"], found["value"]


async def look_at_other(process: Process) -> None:
    """Let a change of another pool that may wait have its pass, and so every change that came before it."""
    process.parts.queue.add("other", process.clock(), minor=True)
    await passes_of(process)


def test_an_answer_that_may_change_a_verdict_makes_a_pass_at_once() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server, saturation={"metrics": [QUEUE]})
        await until(lambda: shown(server) == ("Unknown", ""), "the first pass")
        say(process, day, 7.0)
        await until(lambda: shown(server) == ("On", "7"), "it is on")
        say(process, day, 0.5)
        await until(lambda: shown(server) == ("Off", "0.5"), "it is off")
        say(process, day, None)
        await until(lambda: shown(server) == ("Unknown", ""), "it is unknown")
        say(process, day, 3.0)
        await until(lambda: shown(server) == ("Off", "3"), "it is known again")

    play(scenario)


def test_an_answer_that_changes_no_verdict_waits_for_another_pass_or_for_the_interval() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server, saturation={"metrics": [QUEUE]})
        make_pool(server, name="other", workloads={"podSelector": {"matchLabels": {"app": "other"}}})
        await until(lambda: shown(server) == ("Unknown", ""), "the first pass")
        say(process, day, 7.0)
        await until(lambda: shown(server) == ("On", "7"), "it is on")
        for _ in range(2):
            await look_at_other(process)

        before = passes(process)
        say(process, day, 9.0)
        await look_at_other(process)
        assert passes(process) == before + 1
        assert shown(server) == ("On", "7")
        # Any other pass shows it, and needs no other reason.
        touch_node(server, "c1", "again")
        await until(lambda: shown(server) == ("On", "9"), "the value")

        for _ in range(2):
            await look_at_other(process)
        say(process, day, 20.0)
        day.ahead += INTERVAL_SECONDS + 1
        process.parts.queue.add("none", process.clock())
        await until(lambda: shown(server) == ("On", "20"), "the value of the interval")

    play(scenario)


def test_an_answer_that_can_not_be_judged_leaves_that_to_the_pass() -> None:
    async def scenario(server: FakeApiServer, process: Process, day: Day) -> None:
        make_pool(server, saturation={"metrics": [QUEUE]})
        await until(lambda: shown(server) == ("Unknown", ""), "the first pass")
        process.parts.reconciler.answered("none")
        say(process, day, 7.0)
        await until(lambda: shown(server) == ("On", "7"), "it is on")

    play(scenario)
