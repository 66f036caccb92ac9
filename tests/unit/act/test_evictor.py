"""The evictor's requests to the API server, its callbacks, and the handling of each refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from computepool.act.evictor import DOUBT_SECONDS, PARALLEL, Evictor, Moved
from computepool.act.write_access import NotLeadingError, WriteAccess
from computepool.decide.plan import Move
from computepool.kube.client import ApiClient
from computepool.kube.credentials import static_access
from computepool.kube.errors import NotFound
from computepool.kube.runtime import Runtime
from computepool.model.moves import MoveKind, PodMove, RequestEvent
from computepool.model.reasons import Reason
from tests.builders import NOW, POOL
from tests.fakes.apiserver import PODS, FakeApiServer
from tests.fakes.waiting import until
from tests.unit.act.objects import pod, stored_pod
from tests.unit.act.writing import Delays, LatestDraw, Lease


def budget_says_no(
    message: str = "The disruption budget b needs 2 healthy pods and has 2 currently", code: int = 429
) -> bytes:
    """What the API server answers for a PodDisruptionBudget."""
    cause = {"reason": "DisruptionBudget", "message": message}
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "reason": "TooManyRequests",
        "details": {"causes": [cause]},
        "code": code,
    }
    return msgspec.json.encode(status)


class Moves:
    """An evictor in front of a fake API server, and its callbacks' calls."""

    def __init__(self, server: FakeApiServer, client: ApiClient) -> None:
        self.server = server
        self.lease = Lease()
        self.delays = Delays()
        self.now = NOW
        self.steady = 0.0
        self.leaving: set[str] = set()
        self.started: dict[str, PodMove] = {}
        self.known: dict[str, PodMove] = {}
        self.pools: list[str] = []
        self.told: list[tuple[str, str]] = []
        runtime = Runtime(steady=lambda: self.steady, wall=lambda: self.now, rng=LatestDraw(), sleep=self.delays)
        self.mover = Evictor(
            WriteAccess(client, self.lease, runtime, "me"),
            self,
            leaving=self.leaving.__contains__,
        )

    # What the mover tells goes through the life of a move: an event that can't happen at its stage is an error.

    def start(self, pool: str, move: PodMove) -> None:
        self.pools.append(pool)
        self.started[move.pod.uid] = self.known[move.pod.uid] = move

    def recorded(self, uid: str) -> None:
        self._event(uid, RequestEvent.RECORD)

    def asked(self, uid: str) -> None:
        self._event(uid, RequestEvent.ASK)

    def let_go(self, uid: str, at: float) -> None:
        assert at == self.now
        self._event(uid, RequestEvent.LET_GO)
        self.told.append(("evicted", uid))

    def refused(self, uid: str, at: float) -> None:
        assert at == self.now
        self._event(uid, RequestEvent.REFUSE)
        self.told.append(("refused", uid))

    def dropped(self, uid: str) -> None:
        self._event(uid, RequestEvent.DROP)
        self.told.append(("dropped", uid))

    def failed(self, uid: str) -> None:
        self._event(uid, RequestEvent.FAIL)
        self.told.append(("failed", uid))

    def _event(self, uid: str, event: RequestEvent) -> None:
        self.known[uid] = self.known[uid].on_request(event)

    def some(self, count: int = 1, **how: Any) -> tuple[Move, ...]:
        """Decisions to move so many pods."""
        pods = [stored_pod(self.server, f"web-{number}", on="n1") for number in range(count)]
        kind, reason = MoveKind.FAILOVER, Reason.LEAVES_SICK_NODE
        return tuple(Move(pod, "nebius", "crusoe", kind, reason, **how) for pod in pods)

    async def carry_out(self, *moves: Move, recheck: Callable[[Move], bool] = lambda _move: True) -> Moved:
        started = self.mover.start(POOL, moves)
        return await self.mover.move(started, why_not=lambda move: None if recheck(move) else Reason.NO_ROOM)

    async def evict_slowly(self, move: Move, seconds: float) -> None:
        """Have one pod of the owner evicted, which takes so long."""
        gate, before = asyncio.Event(), self.server.count("create")
        self.server.fault("create", gate=gate)
        moving = asyncio.create_task(self.carry_out(of_one_owner(move)))
        await until(lambda: self.server.count("create") > before, "it to be asked for")
        self.steady += seconds
        gate.set()
        await moving

    def left(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.server.items(PODS)]


def of_one_owner(move: Move) -> Move:
    """The move, of a pod of the one owner that all of these have."""
    return replace(move, pod=replace(move.pod, owner="web"))


def play(scenario: Callable[[Moves], Awaitable[None]], *, within: float = 5.0) -> None:
    async def run() -> None:
        async with FakeApiServer() as server, ApiClient(static_access(server.url), timeout=within) as client:
            m = Moves(server, client)
            try:
                await scenario(m)
            finally:
                await m.mover.settle()

    asyncio.run(run())


# -- requests


def test_pods_are_evicted_each_by_its_uid_and_that_is_told() -> None:
    async def scenario(m: Moves) -> None:
        moves = m.some(2)
        outcome = await m.carry_out(*moves)
        assert outcome.done == moves
        assert m.left() == []
        assert m.told == [("evicted", move.pod.uid) for move in moves]
        call = m.server.calls_of("create", "eviction")[0]
        assert call.path == "/api/v1/namespaces/default/pods/web-0/eviction"
        assert call.json == {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "web-0", "namespace": "default"},
            "deleteOptions": {"preconditions": {"uid": moves[0].pod.uid}},
        }

    play(scenario)


def test_a_pod_on_a_lost_node_is_deleted_by_its_uid_with_its_own_grace() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some(release=True)
        assert (await m.carry_out(move)).done == (move,)
        (call,) = m.server.calls_of("delete")
        assert call.path == "/api/v1/namespaces/default/pods/web-0"
        assert call.json == {"preconditions": {"uid": move.pod.uid}}
        assert m.server.count("create") == 0

    play(scenario)


def test_a_move_counts_as_under_way_before_anything_is_sent() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        assert m.mover.start(POOL, [move]) == (move,)
        assert m.started == {move.pod.uid: PodMove(move.pod, "nebius", "crusoe", MoveKind.FAILOVER, at=NOW)}
        assert m.pools == [POOL]
        assert m.server.calls == []

    play(scenario)


def test_moves_that_are_not_carried_out_are_taken_back_later_and_later() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        why = NotFound(404, "NotFound", "the pool is gone", request="patch")
        m.mover.put_off(m.mover.start(POOL, [move]), why)
        await until(lambda: m.delays.asked == [1.0], "a wait")
        assert m.told == []
        m.delays.over.set()
        await until(lambda: m.told == [("failed", move.pod.uid)], "its release")
        m.mover.put_off(m.mover.start(POOL, [move]), why)
        await until(lambda: m.delays.asked == [1.0, 2.0], "a longer one")

    play(scenario)


def test_what_waits_still_is_not_started_once_more() -> None:
    async def scenario(m: Moves) -> None:
        moves = m.some(2)
        gate = asyncio.Event()
        m.server.fault("create", path="web-0", gate=gate)
        moving = asyncio.create_task(m.carry_out(moves[0]))
        await until(lambda: m.server.count("create") == 1, "it is asked for")
        assert m.mover.start(POOL, moves) == (moves[1],)
        m.mover.drop(moves[1:])
        assert m.told == [("failed", moves[1].pod.uid)]
        gate.set()
        await moving
        assert m.mover.start(POOL, moves) == moves

    play(scenario)


def test_what_failed_is_not_started_once_more_before_its_wait_is_over() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        m.server.fault("create", status=403)
        await m.carry_out(move)
        await until(lambda: m.delays.asked == [1.0], "a wait")
        assert m.mover.start(POOL, [move]) == ()
        m.delays.over.set()
        await until(lambda: m.told == [("failed", move.pod.uid)], "its end")
        assert m.mover.start(POOL, [move]) == (move,)

    play(scenario)


def test_all_are_answered_where_leadership_is_over_too() -> None:
    async def scenario(m: Moves) -> None:
        m.lease.lost_after = 0
        moves = m.some(3)
        with pytest.raises(NotLeadingError):
            await m.carry_out(*moves)
        await until(lambda: len(m.told) == 3, "answers")
        assert sorted(m.told) == sorted(("failed", move.pod.uid) for move in moves)

    play(scenario)


def test_the_last_look_is_just_before_each_eviction_and_drops_what_it_does_not_like() -> None:
    async def scenario(m: Moves) -> None:
        moves = m.some(PARALLEL + 3)
        gate = asyncio.Event()
        m.server.fault("create", times=1000, gate=gate)
        looked: list[str] = []

        def look(move: Move) -> bool:
            looked.append(move.pod.name)
            return len(looked) <= PARALLEL + 1

        moving = asyncio.create_task(m.carry_out(*moves, recheck=look))
        await until(lambda: m.server.count("create") == PARALLEL, "as many as may be")
        assert looked == [move.pod.name for move in moves[:PARALLEL]]
        gate.set()
        outcome = await moving
        assert outcome.dropped == tuple((move, Reason.NO_ROOM) for move in moves[-2:])
        assert len(outcome.done) == PARALLEL + 1
        assert [told for told in m.told if told[0] == "dropped"] == [("dropped", move.pod.uid) for move in moves[-2:]]

    play(scenario)


def test_the_lease_is_asked_for_before_every_single_eviction() -> None:
    async def scenario(m: Moves) -> None:
        m.lease.lost_after = 1
        with pytest.raises(NotLeadingError):
            await m.carry_out(*m.some(3))
        await until(lambda: m.lease.checks == 3, "all had their turn")
        assert m.server.count("create") <= 1

    play(scenario)


# -- refusals


@pytest.mark.parametrize("code", [429, 403])
def test_a_disruption_budgets_no_is_told_as_that_and_the_decision_says_when_to_ask_again(code: int) -> None:
    async def scenario(m: Moves) -> None:
        moves = m.some(2)
        m.server.fault("create", path="web-0", status=code, body=budget_says_no(code=code))
        outcome = await m.carry_out(*moves)
        assert outcome.done == (moves[1],)
        ((refused, why),) = outcome.refused
        assert refused == moves[0]
        assert why.causes[0].message.startswith("The disruption budget b needs 2")
        assert ("refused", moves[0].pod.uid) in m.told
        assert m.delays.asked == []
        assert m.mover.start(POOL, moves[:1]) == moves[:1]

    play(scenario)


def test_a_pod_with_two_budgets_is_refused_too_and_no_trouble_of_the_server() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        says = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        m.server.fault("create", status=500, message=says)
        assert [asked for asked, _ in (await m.carry_out(move)).refused] == [move]

    play(scenario)


def test_whatever_time_a_budgets_no_gives_the_decision_says_when_to_ask_again_and_no_move_is_left_out() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        body = msgspec.json.decode(budget_says_no())
        body["details"]["retryAfterSeconds"] = 10
        m.server.fault("create", status=429, body=msgspec.json.encode(body))
        await m.carry_out(move)
        m.now += 9
        assert m.mover.start(POOL, [move]) == (move,)

    play(scenario)


@pytest.mark.parametrize("other", [False, True], ids=["it is gone", "another has its name"])
def test_a_pod_that_is_gone_is_no_failure_and_is_not_asked_for_in_a_loop(other: bool) -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        m.server.delete(PODS, "web-0", "default")
        if other:
            m.server.create(PODS, pod("web-0"))
        outcome = await m.carry_out(move)
        assert (outcome.gone, outcome.failed) == ((move,), ())
        assert m.left() == (["web-0"] if other else [])
        await until(lambda: m.delays.asked == [1.0], "a wait")
        assert m.told == []
        m.delays.over.set()
        await until(lambda: m.told == [("failed", move.pod.uid)], "its release")

    play(scenario)


@pytest.mark.parametrize(
    ("fault", "waited"),
    [({"status": 403}, 1.0), ({"status": 422}, 1.0), ({"status": 429, "retry_after": 3}, 3.0)],
    ids=["not allowed", "not valid", "too busy"],
)
def test_any_other_refusal_is_a_failure_and_is_decided_anew_after_a_while(fault: dict[str, Any], waited: float) -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        m.server.fault("create", **fault)
        outcome = await m.carry_out(move)
        assert [asked for asked, _ in outcome.failed] == [move]
        await until(lambda: m.delays.asked == [waited], "a wait")
        m.delays.over.set()
        await until(lambda: m.told == [("failed", move.pod.uid)], "its release")

    play(scenario)


@pytest.mark.parametrize("leaving", [False, True], ids=["it was not made", "it was made"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 504}, {"reset": True}, {"delay": 5.0}], ids=str)
def test_an_eviction_without_a_clear_answer_counts_until_the_watch_had_time_to_tell(
    fault: dict[str, Any], leaving: bool
) -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        m.server.fault("create", **fault)
        outcome = await m.carry_out(move)
        assert [asked for asked, _ in outcome.failed] == [move]
        await until(lambda: m.delays.asked == [DOUBT_SECONDS], "a wait")
        assert m.told == []
        if leaving:
            m.leaving.add(move.pod.uid)
        m.delays.over.set()
        await until(lambda: m.told == [("evicted" if leaving else "failed", move.pod.uid)], "what it was")

    play(scenario, within=0.2)


def test_failures_in_a_row_are_waited_for_longer_and_longer() -> None:
    async def scenario(m: Moves) -> None:
        (move,) = m.some()
        m.server.fault("create", status=403, times=3)
        m.delays.over.set()
        for _ in range(3):
            m.told.clear()
            await m.carry_out(move)
            await until(lambda: m.told, "the end of its wait")
        await until(lambda: m.delays.asked == [1.0, 2.0, 4.0], "three waits")

    play(scenario)


def test_evictions_that_get_in_each_others_way_take_turns_from_then_on() -> None:
    """A disruption budget allows one eviction at a time; evictions that meet wait for half a second each."""

    async def scenario(m: Moves) -> None:
        first, *others = [of_one_owner(move) for move in m.some(4)]
        await m.evict_slowly(first, 1.0)

        gate = asyncio.Event()
        m.server.fault("create", times=3, gate=gate)
        looked: list[str] = []

        def look(move: Move) -> bool:
            looked.append(move.pod.name)
            return True

        moving = asyncio.create_task(m.carry_out(*others, recheck=look))
        await until(lambda: m.server.count("create") == 2, "the next to be asked for")
        assert looked == [others[0].pod.name]
        gate.set()
        assert list((await moving).done) == others

    play(scenario)


def test_turns_end_once_one_that_was_alone_was_slow_too() -> None:
    """Then the API server is slow, whoever is evicted: one after another would only take longer."""

    async def scenario(m: Moves) -> None:
        await m.evict_slowly(m.some(1)[0], 1.0)
        await m.evict_slowly(m.some(1)[0], 0.2)

        gate = asyncio.Event()
        m.server.fault("create", times=2, gate=gate)
        moving = asyncio.create_task(m.carry_out(*[of_one_owner(move) for move in m.some(2)]))
        await until(lambda: m.server.count("create") == 4, "both to be asked for at once")
        gate.set()
        assert len((await moving).done) == 2

    play(scenario)
