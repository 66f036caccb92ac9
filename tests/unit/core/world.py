"""A cluster with a scheduler and an operator that may stop at any instruction, in plain values.

The operator is the real store and the real passes; what it writes reaches the cluster one patch at a time, and what
changes in the cluster reaches the operator when it is delivered. A new operator knows only what the cluster shows.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from computepool.act.patches import BURST_DELETION_COST
from computepool.assess.capacity.providers import Provider, providers_of
from computepool.decide.plan import Admission, Burst, LabelFix
from computepool.model.accelerators import request_of
from computepool.model.cluster import Node, Offer, Pod, Shape
from computepool.model.keys import BURST_LABEL
from computepool.model.offers import with_offer
from computepool.model.quantity import MILLI
from computepool.model.state import Breaker, recorded_in, restarted
from computepool.model.taints import Toleration, tolerated
from computepool.observe.store import Store
from tests.builders import GPU, NOW, POOL, namespace, pod, pool, with_tolerations
from tests.unit.core.passes import Decided, decided

Change = tuple[str, Any]


class World:
    """The cluster as it is, and the operator that is running now."""

    def __init__(self, providers: Sequence[dict[str, Any]], nodes: Iterable[Node], **spec: Any) -> None:
        self.now = NOW
        self.nodes = {node.name: node for node in nodes}
        self.pods: dict[str, Pod] = {}
        self.refused_by: dict[str, frozenset[str]] = {}
        """By pod uid: providers that the scheduler never binds it to, for reasons that nobody else knows."""
        self.admission = Admission()
        self.saturated = "Unknown"
        self.breakers: Mapping[str, Breaker] = {}
        self.bursts = 0
        self._spec = (tuple(providers), spec)
        self._versions = itertools.count(10)
        self._unseen: list[Change] = []
        self.targets = providers_of(pool(*providers, **spec))
        self.start()

    # -- the operator

    def start(self) -> None:
        """Let a new operator take over, which lists everything; whatever the one before had in memory is lost."""
        self._unseen.clear()
        self.store = Store(lambda _pool, _at: None, wall=lambda: self.now)
        self.store.put_namespace(namespace(), 0.0)
        for node in self.nodes.values():
            self.store.put_node(node, 0.0)
        for one in self.pods.values():
            self.store.put_pod(one, 0.0)
        providers, spec = self._spec
        self.pool = pool(*providers, status=self._status(), **spec)
        self.store.put_pool(self.pool, 0.0)
        self.state = restarted(recorded_in(self.pool))

    def look(self) -> Decided:
        """Decide, and note what is under way, as one uninterrupted step."""
        plan = decided(self.store.snapshot(POOL), self.state, self.now)
        self.state = plan.state
        for burst in plan.bursts:
            self.store.in_flight.start(burst.pod.uid, Offer(burst.provider, self.now))
        return plan

    def conclude(self, plan: Decided) -> None:
        """Carry out what comes last in a pass: marks and the status."""
        for mark in plan.label_fixes:
            self._mark(mark)
        self.admission = plan.admission
        self.saturated = {True: "True", False: "False", None: "Unknown"}[plan.state.recorded.saturated]
        self.breakers = plan.state.recorded.breakers

    def write(self, burst: Burst) -> None:
        """Let one patch reach the API server, which refuses what would take a toleration away."""
        uid, flights = burst.pod.uid, self.store.in_flight
        there = self.pods.get(uid)
        wanted = (*burst.pod.shape.tolerations, *burst.tolerations)
        if there is None or not set(wanted) >= set(there.shape.tolerations):
            flights.drop(uid)
            return
        target = next(one for one in self.targets if one.name == burst.provider)
        assert not target.tolerated_by(there.shape), f"{there.name} is sent to {burst.provider} twice"
        self.bursts += 1
        self._change(
            there,
            shape=with_tolerations(bare(there.shape), *wanted),
            labels={**there.labels, BURST_LABEL: burst.provider},
            offers=with_offer(there.offers, Offer(burst.provider, self.now)),
            deletion_cost=there.deletion_cost or BURST_DELETION_COST,
        )
        held = self.store.pod(uid)
        flights.written(uid, self.pods[uid].resource_version, held.resource_version if held else 0)

    def lose(self, burst: Burst) -> None:
        """Let one patch fail: the operator learns it, and may decide anew."""
        self.store.in_flight.drop(burst.pod.uid)

    def deliver(self, count: int | None = None) -> None:
        """Let the operator see what has changed, the first `count` of it or all."""
        seen, self._unseen = self._unseen[:count], self._unseen[len(self._unseen[:count]) :]
        for kind, item in seen:
            match kind:
                case "pod":
                    self.store.put_pod(item, 0.0)
                case "gone":
                    self.store.drop_pod(item, 0.0)
                case _:
                    self.store.put_node(item, 0.0)

    def _mark(self, mark: LabelFix) -> None:
        there = self.pods.get(mark.pod.uid)
        if there is not None:
            others = {key: value for key, value in there.labels.items() if key != BURST_LABEL}
            self._change(there, labels={**others, BURST_LABEL: mark.provider} if mark.provider else others)

    def _status(self) -> dict[str, Any]:
        condition = {
            "type": "Saturated",
            "status": self.saturated,
            "reason": "PodsOverflow",
            "lastTransitionTime": "2026-11-23T05:00:00Z",
        }
        given = [
            {"key": t.key, "operator": t.operator, "value": t.value, "effect": t.effect}
            for t in self.admission.tolerations
        ]
        providers = [{"name": name, "breaker": written(breaker)} for name, breaker in self.breakers.items()]
        return {"conditions": [condition], "admission": {"tolerations": given}, "providers": providers}

    # -- everybody else

    def create(self, name: str, shape: Shape, refused_by: Iterable[str] = (), **fields: Any) -> None:
        """Create a pod; while admission is open, it tolerates what the policy gives to those without their own say."""
        given = self.admission.tolerations if fields.get("allowed") is None else ()
        made = pod(
            name,
            shaped=with_tolerations(shape, *given),
            created=self.now,
            since=self.now,
            resource_version=next(self._versions),
            **fields,
        )
        if made.uid not in self.pods:
            self.refused_by[made.uid] = frozenset(refused_by)
            self._put(made)

    def finish(self, uid: str) -> None:
        """A pod ends."""
        if self.pods.pop(uid, None) is not None:
            self._unseen.append(("gone", uid))

    def terminate(self, uid: str) -> None:
        """A pod is asked to end within half a minute; one that is bound holds its place until `finish`."""
        one = self.pods[uid]
        if not one.node:
            self.finish(uid)
        elif one.deleting is None:
            self._change(one, deleting=self.now + 30)

    def turn(self, name: str, **state: Any) -> None:
        """A node changes its state."""
        node = msgspec.structs.replace(self.nodes[name], resource_version=next(self._versions), **state)
        self.nodes[name] = node
        self._unseen.append(("node", node))

    def schedule(self, order: random.Random, share: float = 1.0) -> int:
        """Let the scheduler try a share of the pods, in any order, on any node that takes them; count the bound."""
        waiting = [one for one in self.pods.values() if not one.node]
        bound = 0
        for one in order.sample(waiting, round(len(waiting) * share)):
            places = [node for node in self.nodes.values() if self.feasible(one, node)]
            if places:
                self._change(one, node=order.choice(places).name)
                bound += 1
            elif not one.unschedulable:
                self._change(one, unschedulable=True)
        return bound

    def feasible(self, one: Pod, node: Node) -> bool:
        """Whether the scheduler would bind a pod to a node."""
        target = self.target_of(node)
        refused = target is not None and target.name in self.refused_by[one.uid]
        return not refused and self.fits(one.shape, node)

    def fits(self, shape: Shape, node: Node) -> bool:
        """Whether a pod fits on a node by all that is known to everybody."""
        used: dict[str, int] = {}
        for other in self.pods.values():
            if other.node == node.name:
                for name, amount in other.shape.requests:
                    used[name] = used.get(name, 0) + amount
        room = all(node.allocatable.get(name, 0) - used.get(name, 0) >= amount for name, amount in shape.requests)
        return (
            node.usable and room and shape.admits(node.name, node.labels) and tolerated(node.taints, shape.tolerations)
        )

    def target_of(self, node: Node) -> Provider | None:
        """The provider of a node."""
        return next((target for target in self.targets if target.selector.matches(node.labels)), None)

    def _change(self, one: Pod, **fields: Any) -> None:
        self._put(msgspec.structs.replace(one, resource_version=next(self._versions), **fields))

    def _put(self, one: Pod) -> None:
        before = self.pods.get(one.uid)
        if before is not None:
            assert set(before.shape.tolerations) <= set(one.shape.tolerations), f"{one.name} lost a toleration"
        self.pods[one.uid] = one
        self._unseen.append(("pod", one))

    # -- what has to hold

    def committed(self, target: Provider) -> int:
        """What the pool's pods hold on a provider, or may hold there without any further decision; in devices."""
        return sum(
            request_of(one, GPU) // MILLI
            for one in self.pods.values()
            if (self.target_of(self.nodes[one.node]) is target if one.node else target.tolerated_by(one.shape))
        )

    def check(self) -> None:
        """Limits hold at every moment, whatever the operator knows of it."""
        for target in self.targets:
            if target.limit is not None:
                assert self.committed(target) * MILLI <= target.limit, f"more than maxAccelerators of {target.name}"


def written(breaker: Breaker) -> dict[str, Any]:
    """A breaker as the pool's status has it."""
    times = {"since": breaker.since or None, "retryAt": breaker.retry_at}
    return {
        "state": str(breaker.state),
        "reason": str(breaker.reason or ""),
        "failures": breaker.failures,
        "node": breaker.node,
        **{key: datetime.fromtimestamp(at, UTC).isoformat() for key, at in times.items() if at is not None},
    }


def bare(shape: Shape) -> Shape:
    """The shape without its tolerations."""
    return Shape(shape.requests, shape.node_selector, shape.affinity, (), shape.unmodelled)


def would_tolerate(shape: Shape, target: Provider) -> Shape:
    """The shape as it would be once it was sent to a provider."""
    missing: tuple[Toleration, ...] = tuple(t for t in target.tolerations if t not in shape.tolerations)
    return with_tolerations(shape, *missing)
