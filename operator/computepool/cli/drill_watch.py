"""What really becomes of the pods of a drill, as one look at the cluster after the other shows it."""

from collections.abc import Iterable, Sequence

import msgspec

from computepool.model.cluster import Pod
from computepool.simulate.drill import Fate


class Real(msgspec.Struct):
    """What really became of one pod. Times are seconds since the drill began; None if that was not seen yet."""

    fate: Fate
    """What was planned."""
    left_at: float | None = None
    ready_at: float | None = None
    runs_on: str = ""
    """The node of its replacement."""
    replacement: str = ""
    """The uid of its replacement."""


class End(msgspec.Struct, frozen=True):
    """Why a live drill ended."""

    why: str
    """As a sentence."""
    well: bool = False
    """Whether all pods that were planned to move were Ready elsewhere."""
    interrupted: bool = False


class Watched:
    """Compares lists of pods with the plan.

    A pod's replacement is a Ready pod of the same owner that was not there when the drill began, on a node outside the
    provider. Of one owner, the first pod that left is matched with the first such pod.
    """

    def __init__(self, fates: Iterable[Fate], there: Iterable[Pod], nodes: Iterable[str]) -> None:
        """`there`: all pods when the drill began; `nodes`: the names of the provider's nodes."""
        self.real = [Real(fate) for fate in fates]
        self.namespaces = sorted({real.fate.pod.namespace for real in self.real})
        """Where the pods and their replacements are."""
        self._before = {pod.uid for pod in there}
        self._nodes = frozenset(nodes)
        self._taken: set[str] = set()

    def see(self, pods: Sequence[Pod], seconds: float) -> list[Real]:
        """Take in a list of the pods of these namespaces, `seconds` after the drill began; return the pods whose
        replacement is Ready now and was not before.
        """
        by_uid = {pod.uid: pod for pod in pods}
        for real in self.real:
            now = by_uid.get(real.fate.pod.uid)
            if real.left_at is None and (now is None or now.deleting is not None):
                real.left_at = seconds
        fresh = self._fresh(pods)
        news = []
        for real in sorted(self.real, key=lambda real: (real.left_at is None, real.left_at or 0.0)):
            candidates = fresh.get(real.fate.pod.owner)
            if real.left_at is not None and real.ready_at is None and candidates:
                replacement = candidates.pop(0)
                self._taken.add(replacement.uid)
                real.ready_at, real.runs_on, real.replacement = seconds, replacement.node, replacement.uid
                news.append(real)
        return news

    def _fresh(self, pods: Iterable[Pod]) -> dict[str, list[Pod]]:
        """Return the new Ready pods elsewhere, by owner, the oldest first."""
        fresh: dict[str, list[Pod]] = {}
        for pod in sorted(pods, key=lambda pod: (pod.created, pod.name)):
            elsewhere = pod.node and pod.node not in self._nodes
            if pod.owner and pod.ready and elsewhere and pod.uid not in self._before and pod.uid not in self._taken:
                fresh.setdefault(pod.owner, []).append(pod)
        return fresh

    @property
    def is_over(self) -> bool:
        """Whether all pods that were planned to move are Ready elsewhere."""
        return all(real.ready_at is not None for real in self.real if not real.fate.stranded)

    @property
    def ready(self) -> int:
        """How many pods are Ready elsewhere."""
        return sum(real.ready_at is not None for real in self.real)
