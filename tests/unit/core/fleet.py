"""A cluster whose nodes fail and whose pods are moved, in plain values, to play many passes on.

Everybody else is as simple as can be: evicted pods end, their owners make others, the scheduler binds what fits, on the
primary first. The operator is `assess` and `decide`; it may be replaced by a new one that knows what is recorded only.
What has to hold is checked at every step, by what really happened and not by what the operator knows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any, Final

import msgspec

from computepool.assess.capacity.providers import providers_of
from computepool.decide.plan import Burst, Move
from computepool.model.accelerators import request_of
from computepool.model.api import UNAVAILABLE_KEY, BreakerState, ComputePool, PoolStatus
from computepool.model.cluster import Node, Offer, Pod, Shape
from computepool.model.keys import BURST_LABEL
from computepool.model.moves import MoveKind, PodMove
from computepool.model.quantity import MILLI
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, Recorded, recorded_in, restarted
from computepool.model.taints import Taint, tolerated
from computepool.observe.moves import Moves
from computepool.report.pass_report import PassReport
from computepool.report.status import status_of
from tests.builders import GPU, NOW, POOL, pod, snapshot, with_tolerations
from tests.unit.core.passes import Decided, decided

FLIGHT: Final = 120.0
HOME: Final = (MoveKind.FAILBACK,)
FORCED: Final = (MoveKind.FAILOVER, MoveKind.RESCHEDULE)


@dataclass
class Eviction:
    """A pod that was let go."""

    lineage: str
    """What stays the same when an owner makes another pod in the place of one."""
    at: float
    kind: MoveKind
    dead: bool
    """Whether its node did not answer."""
    source: str
    target: str


@dataclass
class Fleet:
    """The cluster as it is, and the operator that runs now."""

    pool: ComputePool
    nodes: dict[str, Node]
    grace: float = 0.0
    """Seconds that evicted pods take to end."""
    refuses: bool = False
    """Whether disruption budgets let nobody go."""
    now: float = NOW
    pods: dict[str, Pod] = field(default_factory=dict)
    state: PoolState = field(default_factory=PoolState)
    status: PoolStatus = field(default_factory=PoolStatus)
    evictions: list[Eviction] = field(default_factory=list)
    lineage: dict[str, str] = field(default_factory=dict)
    """By pod uid."""
    used: float = 0.0
    """Seconds that devices of standbys were held, all added up."""
    bursts: list[str] = field(default_factory=list)
    """Lineages of the pods that were sent on, in order."""
    moves: Moves = field(init=False)
    """What the present leader knows of its moves."""
    _last: dict[str, Eviction] = field(default_factory=dict)
    _owed: list[tuple[Pod, str]] = field(default_factory=list)
    """Pods in whose place their owner has not made another yet."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Let a first leader begin."""
        self.moves = Moves(lambda: self.now)

    # -- everybody else

    def create(self, count: int, of: Shape, after: float = 3.0, **fields: Any) -> None:
        """An owner makes so many pods, some time after whatever happened before."""
        self.now += after
        number = next(self._numbers)
        for index in range(count):
            name = f"w{number}-{index}"
            self._add(
                pod(name, shaped=of, owner=f"rs-{number}", owner_kind="ReplicaSet", **self._born(), **fields), name
            )

    def finish(self, uids: Iterable[str]) -> None:
        """Pods end by themselves."""
        for uid in list(uids):
            self.pods.pop(uid, None)

    def turn(self, name: str, **state: Any) -> None:
        """A node changes: not in the very second in which its pods were created."""
        self.now += 1.0
        self._put(name, **state)

    def _put(self, name: str, **state: Any) -> None:
        self.nodes[name] = msgspec.structs.replace(self.nodes[name], **state)

    def wait(self, seconds: float) -> None:
        """Time passes; pods that were to end by then have. For long, and owners have made what they owe."""
        if seconds > FLIGHT / 4:
            self.control()
        # Our clock has milliseconds.
        self.now = ceil((self.now + seconds) * 1000) / 1000
        primary = self.pool.spec.providers[0].name
        away = [one for one in self.pods.values() if one.node and self.provider_of(one.node) != primary]
        self.used += seconds * sum(request_of(one, GPU) for one in away) / MILLI
        over = [one for one in self.pods.values() if one.deleting is not None and one.deleting <= self.now]
        self.finish(one.uid for one in over if self.answers(one))

    def control(self) -> None:
        """Owners make other pods in the place of those that were let go."""
        owed, self._owed = self._owed, []
        for gone, lineage in owed:
            bare = Shape(gone.shape.requests, gone.shape.node_selector, gone.shape.affinity)
            name = f"{lineage}-r{next(self._numbers)}"
            fields: dict[str, Any] = {"owner": gone.owner, "owner_kind": gone.owner_kind, "priority": gone.priority}
            self._add(pod(name, shaped=with_tolerations(bare), allowed=gone.allowed, **fields, **self._born()), lineage)

    def schedule(self) -> int:
        """The scheduler binds whom it can, in order of priority, on the primary first; returns how many."""
        bound = 0
        for one in sorted(self.waiting(), key=lambda one: (-one.priority, one.created, one.name)):
            there = next((node for node in self._in_order() if self._takes(node, one)), None)
            if there is not None:
                self.pods[one.uid] = msgspec.structs.replace(one, node=there.name, ready=True)
                bound += 1
        return bound

    def waiting(self) -> list[Pod]:
        """Pods that are not bound."""
        return [one for one in self.pods.values() if not one.node]

    def answers(self, one: Pod) -> bool:
        """Whether the pod's node does."""
        return self.nodes[one.node].ready != "Unknown"

    def provider_of(self, node: str) -> str:
        """The provider that a node belongs to."""
        return self.nodes[node].labels["computepool.io/provider"]

    def on(self, provider: str) -> list[Pod]:
        """Pods bound to a provider's nodes."""
        return [one for one in self.pods.values() if one.node and self.provider_of(one.node) == provider]

    def free(self, node: Node) -> int:
        """What is left of a node's devices."""
        held = sum(request_of(one, GPU) for one in self.pods.values() if one.node == node.name)
        return node.allocatable.get(GPU, 0) - held

    def _takes(self, node: Node, one: Pod) -> bool:
        room = self.free(node) >= request_of(one, GPU)
        fits = one.shape.admits(node.name, node.labels) and tolerated(node.taints, one.shape.tolerations)
        return node.usable and room and fits

    def _in_order(self) -> list[Node]:
        ranks = {one.name: index for index, one in enumerate(self.pool.spec.providers)}
        return sorted(self.nodes.values(), key=lambda node: (ranks[self.provider_of(node.name)], node.name))

    def _born(self) -> dict[str, Any]:
        # As the API server tells it: whole seconds.
        return {"created": float(int(self.now)), "since": float(int(self.now)), "appeared": self.moves.order}

    def _add(self, one: Pod, lineage: str) -> None:
        self.pods[one.uid] = one
        self.lineage[one.uid] = lineage

    # -- the operator

    def restart(self) -> None:
        """Another leader takes over, which knows what is recorded. Owners are quicker than that."""
        self.control()
        self.now += 0.5
        self.state = restarted(self.read_back(), self.now)
        self.moves = Moves(lambda: self.now)
        # What is there is listed before the first move.
        self.pods = {uid: msgspec.structs.replace(one, appeared=0) for uid, one in self.pods.items()}

    def read_back(self) -> Recorded:
        """What the pool's status says of the state: all that is recorded, and nothing else."""
        recorded = recorded_in(self.pool.model_copy(update={"status": self.status}))
        assert recorded == self.state.recorded
        return recorded

    def look(self) -> Decided:
        """Pass once, check what was decided and carry it out."""
        seen = self.seen()
        plan = decided(seen, self.state, self.now)
        outcome = PassReport(seen, plan.assessment, plan, plan.state)
        self.status = status_of(outcome, self.status, datetime.fromtimestamp(self.now, UTC))
        check(self, plan)
        self.state = plan.state
        for burst in plan.bursts:
            self._send(burst)
        if plan.quarantine is not None:
            for name in self.nodes:
                self._taint(name, plan.quarantine.get(name))
        for move in plan.moves:
            self._move(move)
        self.check_limits()
        return plan

    def seen(self) -> Snapshot:
        """What the operator sees now."""
        self.moves.prune(POOL, self.dwell)
        pods = list(self.pods.values())
        moves = self.moves.followed(POOL, lambda: pods, self.pods.get, lambda one: self.provider_of(one.node))
        seen = snapshot(self.pool, list(self.nodes.values()), pods)
        return msgspec.structs.replace(
            seen, moves=moves, moves_since=self.moves.since(POOL), moves_forgotten=self.moves.forgotten(POOL)
        )

    @property
    def dwell(self) -> float:
        """Seconds for which a pod is left where it is after a move."""
        return float(self.pool.spec.failback.min_dwell_seconds)

    def settle(self, passes: int = 60) -> Decided:
        """Go on until nothing happens any more without time."""
        for _ in range(passes):
            self.control()
            bound = self.schedule()
            tainted = {node.name for node in self.nodes.values() if node.quarantined}
            plan = self.look()
            same = tainted == {node.name for node in self.nodes.values() if node.quarantined}
            if same and not (bound or plan.bursts or self._owed):
                return plan
        raise AssertionError("there is no end to it")

    def run(self, seconds: float) -> None:
        """Let time pass, and look whenever the operator wants to."""
        end = self.now + seconds
        while self.now < end:
            again = self.settle().recheck_at
            self.wait(end - self.now if again is None else min(again, end) - self.now)
        self.settle()

    def _send(self, burst: Burst) -> None:
        one = self.pods[burst.pod.uid]
        self.bursts.append(self.lineage[one.uid])
        self.pods[one.uid] = msgspec.structs.replace(
            one,
            shape=with_tolerations(one.shape, *burst.tolerations),
            labels={**one.labels, BURST_LABEL: burst.provider},
            offers=(*one.offers, Offer(burst.provider, self.now)),
        )

    def _taint(self, name: str, reason: str | None) -> None:
        others = tuple(taint for taint in self.nodes[name].taints if taint.key != UNAVAILABLE_KEY)
        own = (Taint(UNAVAILABLE_KEY, str(reason), "NoSchedule"),) if reason is not None else ()
        self._put(name, taints=(*others, *own))

    def _move(self, move: Move) -> None:
        one = self.pods[move.pod.uid]
        self.moves.start(POOL, PodMove(one, move.source, move.target, move.kind, at=self.now))
        self.moves.recorded(one.uid)
        self.moves.asked(one.uid)
        if self.refuses:
            self.moves.refused(one.uid, self.now)
            return
        self.moves.let_go(one.uid, self.now)
        lineage = self.lineage[one.uid]
        dead = not self.answers(one)
        self.evictions.append(Eviction(lineage, self.now, move.kind, dead, move.source, move.target))
        self.check_dwell(self.evictions[-1])
        self._owed.append((one, lineage))
        if self.grace or dead:
            self.pods[one.uid] = msgspec.structs.replace(one, deleting=self.now + self.grace)
        else:
            self.finish([one.uid])
        self.moves.left(one.uid)

    # -- what has to hold of what has happened

    def check_limits(self) -> None:
        """Moves at once, in a minute, and of one workload after another; limits of providers; the budget."""
        failover, failback = self.pool.spec.failover, self.pool.spec.failback
        for kinds, limits in ((FORCED, failover), (HOME, failback)):
            of_kind = [one for one in self._since(FLIGHT) if one.kind in kinds]
            assert len([one for one in of_kind if self._flies(one)]) <= limits.max_concurrent_moves
            lately = [one for one in of_kind if one.at > self.now - 60]
            assert limits.per_minute is None or len(lately) <= limits.per_minute
        for target in providers_of(self.pool)[1:]:
            assert target.limit is None or self._committed(target.name, target.tolerations) <= target.limit
        hour = self.pool.spec.budget.hourly() if self.pool.spec.budget else None
        assert hour is None or self.hourly() <= hour

    def check_dwell(self, one: Eviction) -> None:
        """Invariant 6: one move per workload in minDwellSeconds, unless its node does not answer."""
        last = self._last.get(one.lineage)
        assert last is None or one.dead or one.at >= last.at + self.dwell - 1, f"{one.lineage} is moved again too soon"
        self._last[one.lineage] = one

    def hourly(self) -> Decimal:
        """What pods on standbys cost, and those that may go there without any further decision."""
        cost = Decimal(0)
        standbys = sorted(providers_of(self.pool)[1:], key=lambda target: target.price or Decimal(0), reverse=True)
        for one in self.pods.values():
            if one.deleting is None:
                where = next((t for t in standbys if self._may_be_on(one, t.name, t.tolerations)), None)
                price = Decimal(0) if where is None or where.price is None else where.price
                cost += price * request_of(one, GPU) / MILLI
        return cost

    def _flies(self, one: Eviction) -> bool:
        """Whether the pod made in the place of an evicted one is not bound yet."""
        if self._last[one.lineage] is not one:
            return False
        owed = any(lineage == one.lineage for _, lineage in self._owed)
        return owed or any(self.lineage[pod.uid] == one.lineage for pod in self.waiting())

    def _since(self, seconds: float) -> list[Eviction]:
        return list(itertools.takewhile(lambda one: one.at > self.now - seconds, reversed(self.evictions)))

    def _committed(self, name: str, tolerations: Sequence[Any]) -> int:
        return sum(request_of(p, GPU) for p in self.pods.values() if self._may_be_on(p, name, tolerations))

    def _may_be_on(self, one: Pod, name: str, tolerations: Sequence[Any]) -> bool:
        if one.node:
            return self.provider_of(one.node) == name
        return set(tolerations) <= set(one.shape.tolerations)


def check(fleet: Fleet, plan: Decided) -> None:
    """What has to hold of one pass's moves."""
    if plan.frozen or plan.held_back:
        assert plan.moves == ()
        assert plan.quarantine is None
    uids = [move.pod.uid for move in plan.moves]
    assert len(set(uids)) == len(uids)
    assert not set(uids) & {burst.pod.uid for burst in plan.bursts}
    for move in plan.moves:
        one = fleet.pods[move.pod.uid]
        node = fleet.nodes[one.node]
        assert one.deleting is None
        assert one.owner
        breaker = plan.state.breaker(move.source)
        if move.kind is MoveKind.FAILOVER:
            sickness = plan.state.memory.node_faults.get(node.name)
            assert node.quarantined
            assert (sickness is not None and sickness.unhealthy) or breaker.state is BreakerState.OPEN
        elif move.kind is MoveKind.FAILBACK:
            assert plan.state.recorded.saturated is False or plan.state.breaker(move.target).node
            assert move.target == fleet.pool.spec.providers[0].name
        assert plan.state.breaker(move.target).state is not BreakerState.OPEN
    _check_places(fleet, plan)


def _check_places(fleet: Fleet, plan: Decided) -> None:
    """Invariant 5: all that are moved to a provider in one pass have a place there at the same time."""
    for name in {move.target for move in plan.moves}:
        open_to = [
            n for n in fleet.nodes.values() if fleet.provider_of(n.name) == name and n.usable and not n.quarantined
        ]
        unhealthy = {node for node, one in plan.state.memory.node_faults.items() if one.unhealthy}
        sizes = sorted((request_of(move.pod, GPU) for move in plan.moves if move.target == name), reverse=True)
        assert packs(sizes, [fleet.free(node) for node in open_to if node.name not in unhealthy]), (name, sizes)


def packs(sizes: Sequence[int], room: Sequence[int]) -> bool:
    """Whether all of these fit at the same time."""
    if not sizes:
        return True
    return any(
        left >= sizes[0] and packs(sizes[1:], [*room[:index], left - sizes[0], *room[index + 1 :]])
        for index, left in enumerate(room)
        if left not in room[:index]
    )
