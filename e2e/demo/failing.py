"""The second half of the demo: a provider fails, its pods leave it, it recovers, and the pods come home."""

from __future__ import annotations

from typing import Any

from e2e.demo.bursting import GROWN
from e2e.demo.moving import Milestones
from e2e.demo.stage import CAPACITY, PRIMARY, STANDBYS
from e2e.demo.telling import GROWING, STAYING, Telling
from e2e.objects import PROVIDER_KEY
from e2e.stages import KUBELET_ALIVE, KUBELET_LABEL

FAILING, LAST = STANDBYS
CANARIES = 2
"""Pods by which the Deployment grows while the provider is on trial."""
# Seconds that the way home may take: the pool's settings wait a while and then let a few go at a time.
HOMECOMING = 90.0


class Failing:
    """Steps five to seven."""

    def __init__(self, telling: Telling) -> None:
        """Nothing happens yet."""
        self._t = telling
        self.milestones = Milestones(FAILING)

    def play(self) -> None:
        """Play the steps. Raises E2EError where one does not come to its end in time."""
        self._fail()
        self._recover()
        self._come_home()

    def _fail(self) -> None:
        self._t.step(f"{FAILING} fails: the heartbeats of its nodes end together")
        self._t.screen.say(
            f"Its {CAPACITY} pods still look as if they ran: Kubernetes would doubt its nodes after 50 s, and wait "
            "5 minutes more. Other providers' heartbeats go on, so the operator opens its breaker, keeps new pods off "
            f"by a taint, and evicts its pods, at most 8 at a time, as there is room on {LAST}."
        )
        with self._t.screen.watching(self._t.recorder):
            self.milestones.failed = self._t.act(f"The kubelets of {FAILING} die.")
            self._t.kubectl("label", "nodes", "--selector", f"{PROVIDER_KEY}={FAILING}", f"{KUBELET_LABEL}-")
            self._t.breaker(FAILING, "Open")
            self._t.all_bound(GROWN, PRIMARY, LAST)
            self.milestones.left = self._t.now()
            self._t.heard("LeavesProvider")
        self._t.screen.say(
            f"All its pods run on {LAST}. The conditions say what is wrong; nothing is left to do by hand:"
        )
        self._t.run("computepool", "status")
        self._t.screen.rest()

    def _recover(self) -> None:
        self._t.step(f"{FAILING} recovers, and has to prove itself before it is used again")
        self._t.screen.say(
            "Its breaker stays open for the backoff and until nothing has been wrong for a while. Half-open, one of "
            f"its nodes is tried: {GROWING} grows by {CANARIES} pods, and the first that is well there closes it."
        )
        with self._t.screen.watching(self._t.recorder):
            self._t.act(f"The kubelets of {FAILING} live again.")
            alive = f"{KUBELET_LABEL}={KUBELET_ALIVE}"
            self._t.kubectl("label", "nodes", "--selector", f"{PROVIDER_KEY}={FAILING}", alive)
            self._t.breaker(FAILING, "HalfOpen")
            self.milestones.tried = self._t.now()
            self._t.scale(GROWN + CANARIES)
            self._t.all_bound(GROWN + CANARIES)
            self._t.breaker(FAILING, "Closed")
        self._t.run("computepool", "status")
        self._t.screen.rest()

    def _come_home(self) -> None:
        self._t.step(f"The primary frees up, and all pods come home to {PRIMARY}, a few at a time")
        self._t.screen.say(
            f"The training ends. Once {PRIMARY} has been below its threshold for long enough, pods on standbys are "
            f"evicted, at most 2 at a time, and find their place at home. The pod of {STAYING} had waited there, and "
            "now runs too."
        )
        away = self._t.cost_per_hour
        with self._t.screen.watching(self._t.recorder):
            self.milestones.freed = self._t.act("The training of the other team is over.")
            self._t.kubectl("delete", "job", "training", "--namespace=research", "--wait=false")
            everyone = GROWN + CANARIES
            self._t.wait(self._stays_home, f"the pod of {STAYING} on {PRIMARY}")
            self._t.all_bound(everyone, PRIMARY, timeout=HOMECOMING)
            self._t.shown(lambda status: _at_home(status) == everyone + 1, f"all pods on {PRIMARY} in the status")
            self.milestones.home = self._t.now()
            self._t.heard("ComesHome")
        self._t.screen.say(
            f"The pool cost {away} an hour with pods on standbys, and costs {self._t.cost_per_hour} now."
        )
        self._t.run("computepool", "status")

    def _stays_home(self) -> bool:
        return any(pod.node for pod in self._t.recorder.here(STAYING))


def _at_home(status: dict[str, Any]) -> int:
    """Accelerators in use on the primary, while no pod is on a standby: each pod of the demo uses one."""
    primary = status["providers"][0]["accelerators"]["allocated"]
    return int(primary) if status["burstPods"] == 0 else 0
