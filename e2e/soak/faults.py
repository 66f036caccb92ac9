"""The faults of the soak test: each begins and ends after a while; a seeded generator chooses them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from e2e.components import APISERVER
from e2e.soak.harmless_faults import HarmlessFaults
from e2e.soak.world import (
    FIRST,
    GUARDED,
    LEASE_SECONDS,
    LOAD,
    LOAD_MOST,
    NODES,
    SECOND,
    THIRD,
    Fault,
    World,
    insist,
    nothing,
    short,
)


class Faults:
    """Chooses."""

    def __init__(self, world: World, rng: random.Random) -> None:
        """All chance comes from `rng`."""
        self._world = world
        self._rng = rng
        self._makers: list[Callable[[], Fault]] = [
            self._lost_nodes,
            self._lost_nodes,
            self._broken_node,
            self._bad_condition,
            self._api_restart,
            self._api_pause,
            self._drain,
            self._edit,
            self._load,
            self._load,
            self._budget,
            *HarmlessFaults(world, rng).makers,
        ]
        self._deadly: list[Callable[[], Fault]] = [self._killed_leader, self._sleeping_leader]

    def next(self, *, deadly: bool) -> Fault:
        """Make the next fault; `deadly`: leaders may die of it."""
        return self._rng.choice(self._makers + self._deadly * 2 if deadly else self._makers)()

    def flap(self) -> Fault:
        """One beat of a standby that comes and goes."""
        names = list(self._world.nodes[THIRD])
        return Fault(f"flap {THIRD}", 10.0, lambda: self._world.silence(names), lambda: self._world.revive(names))

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _some(self) -> list[str]:
        provider = self._rng.choice((FIRST, SECOND))
        count = self._rng.randint(1, NODES[provider])
        return self._rng.sample(self._world.nodes[provider], count)

    def _lost_nodes(self) -> Fault:
        names = self._some()
        return Fault(
            f"silent: {short(names)}",
            self._rng.uniform(8, 30),
            lambda: self._world.silence(names),
            lambda: self._world.revive(names),
        )

    def _broken_node(self) -> Fault:
        names = self._some()[:1]
        return Fault(
            f"not ready: {short(names)}",
            self._rng.uniform(3, 20),
            lambda: self._world.fail(names, lambda: self._world.site.break_nodes(names)),
            lambda: self._world.mend(names, lambda: self._world.site.mend_nodes(names)),
        )

    def _bad_condition(self) -> Fault:
        (name,) = self._some()[:1]

        def say(status: str) -> None:
            condition = {"type": "XIDErrors", "status": status, "reason": "Soak", "message": "said by the soak"}
            patch = {"status": {"conditions": [condition]}}
            change = self._world.fail if status == "True" else self._world.mend
            change([name], lambda: self._world.api.patch("nodes", name, patch, how="strategic", subresource="status"))

        return Fault(
            f"bad condition: {short([name])}", self._rng.uniform(3, 20), lambda: say("True"), lambda: say("False")
        )

    # -- the control plane -----------------------------------------------------------------------------------------

    def _api_restart(self) -> Fault:
        return Fault("API server restarts", 0, self._world.cluster.restart_apiserver, nothing)

    def _api_pause(self) -> Fault:
        seconds = self._rng.uniform(1, 6)

        def pause() -> None:
            self._world.cluster.pause(APISERVER)
            time.sleep(seconds)
            self._world.cluster.resume(APISERVER)

        return Fault(f"API server does not answer: {seconds:.1f} s", 0, pause, nothing)

    # -- leaders ---------------------------------------------------------------------------------------------------

    def _killed_leader(self) -> Fault:
        def kill() -> None:
            if leader := self._world.leader():
                leader.kill()

        return Fault("leader killed", 0, kill, nothing)

    def _sleeping_leader(self) -> Fault:
        leader = self._world.leader()

        def sleep() -> None:
            if leader is not None:
                leader.pause()

        def wake() -> None:
            if leader is not None:
                leader.resume()

        return Fault("leader sleeps past its lease", LEASE_SECONDS + self._rng.uniform(1, 5), sleep, wake)

    # -- people ----------------------------------------------------------------------------------------------------

    def _drain(self) -> Fault:
        provider = self._rng.choice((SECOND, THIRD))
        return Fault(
            f"drain {provider}",
            self._rng.uniform(5, 25),
            lambda: self._world.drain(provider, on=True),
            lambda: self._world.drain(provider, on=False),
        )

    def _edit(self) -> Fault:
        patches: list[dict[str, object]] = [
            {"failover": {"runningPods": self._rng.choice(("Move", "MoveFromUnhealthyNodes"))}},
            {"failover": {"maxConcurrentMoves": self._rng.randint(1, 8)}},
            {"failback": {"policy": self._rng.choice(("Never", "WhenStable"))}},
            {"admission": {"mode": self._rng.choice(("Always", "WhenSaturated", "Off"))}},
            {"saturation": {"pendingSeconds": self._rng.randint(0, 3)}},
            {"mode": self._rng.choice(("Observe", "Enforce", "Enforce"))},
        ]
        patch = self._rng.choice(patches)
        return Fault(f"edit: {patch}", 0, lambda: self._world.edit(patch), nothing)

    def _load(self) -> Fault:
        replicas = self._rng.randint(0, LOAD_MOST)
        return Fault(f"load: {replicas} pods", 0, lambda: self._world.scale(LOAD, replicas), nothing)

    def _budget(self) -> Fault:
        def allow(count: int) -> None:
            patch = {"spec": {"maxUnavailable": count}}
            kind, namespace = "poddisruptionbudgets.policy", self._world.site.namespace
            insist(lambda: self._world.api.patch(kind, GUARDED, patch, namespace))

        return Fault("a disruption budget of none", self._rng.uniform(5, 20), lambda: allow(0), lambda: allow(1))
