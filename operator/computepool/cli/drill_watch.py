"""What really becomes of the pods of a drill, as one look at the cluster after the other shows it."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from computepool.model.cluster import Pod
from computepool.report.formatting import counted
from computepool.simulate.drill import Fate

NO_REPLACEMENT_SECONDS: Final = 10.0
"""A controller makes a pod in place of another within a moment."""


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
    ended_by_itself: bool = False
    """Whether it has left, and its owner has made no pod in place of it."""


class End(msgspec.Struct, frozen=True):
    """Why a live drill ended."""

    why: str
    """As a sentence."""
    well: bool = False
    """Whether all pods that were planned to move were Ready elsewhere."""
    interrupted: bool = False


class Watched:
    """Compares looks at the cluster with the plan.

    A pod's replacement is a Ready pod of the same owner on a node outside the provider that was first seen when the pod
    had left, or later. Of one owner, the first pod that left is matched with the oldest such pod. A pod that has left
    has ended by itself if its owner has made no pod in place of it for some seconds: the owner wanted fewer pods, is
    complete, or was replaced by another owner, as in a rolling update.
    """

    def __init__(self, fates: Iterable[Fate], there: Iterable[Pod], nodes: Iterable[str]) -> None:
        """`there`: all pods when the drill began; `nodes`: the names of the provider's nodes."""
        self.real = [Real(fate) for fate in fates]
        self.namespaces = sorted({real.fate.pod.namespace for real in self.real})
        """Where the pods and their replacements are."""
        self._nodes = frozenset(nodes)
        self._seen_at = {pod.uid: -1.0 for pod in there}
        """By uid of each pod: when it was first seen, in seconds since the drill began."""
        self._taken: set[str] = set()

    def see(self, pods: Sequence[Pod], seconds: float) -> list[Real]:
        """Take in a list of the pods of these namespaces, `seconds` after the drill began; return the pods whose
        replacement is Ready now and was not before.
        """
        by_uid = {pod.uid: pod for pod in pods}
        for uid in by_uid:
            self._seen_at.setdefault(uid, seconds)
        for real in self.real:
            now = by_uid.get(real.fate.pod.uid)
            if real.left_at is None and (now is None or now.deleting is not None):
                real.left_at = seconds
        made = self._made(pods)
        news = []
        for real in sorted(self._leaving(), key=lambda real: real.left_at or 0.0):
            pods_made = made.get(real.fate.pod.owner, [])
            replacement = next((pod for pod in pods_made if self._replaces(pod, real)), None)
            if replacement is not None:
                pods_made.remove(replacement)
                self._taken.add(replacement.uid)
                real.ready_at, real.runs_on, real.replacement = seconds, replacement.node, replacement.uid
                news.append(real)
        for real in self._leaving():
            # A pod that is not Ready yet, or came back to the provider, is a replacement under way.
            open_ended = made.get(real.fate.pod.owner) or seconds < (real.left_at or 0.0) + NO_REPLACEMENT_SECONDS
            real.ended_by_itself = not open_ended
        return news

    def _leaving(self) -> list[Real]:
        """Return the pods that have left and are not replaced yet."""
        return [real for real in self.real if real.left_at is not None and real.ready_at is None]

    def _made(self, pods: Iterable[Pod]) -> dict[str, list[Pod]]:
        """Return the pods that were made since the drill began and replace no pod yet, by owner, the oldest first."""
        made: dict[str, list[Pod]] = {}
        for pod in sorted(pods, key=lambda pod: (pod.created, pod.name)):
            if pod.owner and pod.deleting is None and self._seen_at[pod.uid] >= 0 and pod.uid not in self._taken:
                made.setdefault(pod.owner, []).append(pod)
        return made

    def _replaces(self, pod: Pod, real: Real) -> bool:
        elsewhere = bool(pod.node) and pod.node not in self._nodes
        return pod.ready and elsewhere and real.left_at is not None and self._seen_at[pod.uid] >= real.left_at

    @property
    def end(self) -> End | None:
        """Why there is nothing more to see; None while a pod that was planned to move is not Ready elsewhere."""
        planned = [real for real in self.real if not real.fate.stranded]
        if any(real.ready_at is None and not real.ended_by_itself for real in planned):
            return None
        if ended := sum(real.ready_at is None for real in planned):
            return End(f"{counted(ended, 'pod')} ended, and no other pod was made in place of them.")
        return End("All pods that were planned to move are Ready elsewhere.", well=True)
