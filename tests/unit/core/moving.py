"""Helpers for tests of moves: nodes and providers with faults, and short forms of what a plan decides about pods."""

from __future__ import annotations

from typing import Any

from computepool.decide.plan import BlockedMove, Move, Plan
from computepool.model.api import UNAVAILABLE_KEY, BreakerState
from computepool.model.cluster import Node, Pod
from computepool.model.reasons import Reason
from computepool.model.state import Breaker, NodeFault, Saturation
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool_state

QUARANTINE = Taint(UNAVAILABLE_KEY, "NodeNotReady", "NoSchedule")
CALM = pool_state(Saturation(False), stable_since=NOW - 10_000)
"""A primary that has been healthy and free for long."""


def unhealthy_node(name: str, gpus: int = 8, *, seen: bool = True, **options: Any) -> Node:
    """A node that is not ready, with the operator's taint if that is `seen`."""
    return node(name, gpus, **{"ready": "False", "taints": [QUARANTINE] if seen else [], **options})


def faults_of(*names: str, reason: Reason = Reason.NODE_NOT_READY, since: float = NOW - 100) -> dict[str, NodeFault]:
    """These nodes' faults, confirmed, as the pass before has found them."""
    return {name: NodeFault(reason, "", since, unhealthy=True, run_since=since) for name in names}


def opened(reason: Reason = Reason.PROVIDER_UNHEALTHY) -> Breaker:
    """A breaker that stays open for long."""
    return Breaker(BreakerState.OPEN, reason, NOW - 10, NOW + 3600, failures=1)


def half_open(name: str, since: float = NOW - 5) -> Breaker:
    """A breaker that tries a node."""
    return Breaker(BreakerState.HALF_OPEN, Reason.PROVIDER_UNHEALTHY, since, failures=1, node=name)


def owned(name: str, gpus: int = 1, *, on: str, age: float = 7200, **fields: Any) -> Pod:
    """A running pod whose controller makes another in its place."""
    options: dict[str, Any] = {"owner": "rs-1", "owner_kind": "ReplicaSet", "waited": age, **fields}
    return pod(name, gpus, on=on, **options)


def moved_to(plan: Plan) -> dict[str, str]:
    """Pods that are moved, by name, and where to."""
    return {move.pod.name: move.target for move in plan.moves}


def blocked(plan: Plan) -> dict[str, Reason]:
    """Pods that stay, by name, and why."""
    return {move.pod.name: move.reason for move in plan.blocked}


def stay_of(plan: Plan, name: str) -> BlockedMove:
    """How one pod stays."""
    (found,) = [move for move in plan.blocked if move.pod.name == name]
    return found


def move_of(plan: Plan, name: str) -> Move:
    """How one pod is moved."""
    (found,) = [move for move in plan.moves if move.pod.name == name]
    return found
