"""Pods that failed at once, by node: they tell a black hole from a node that is merely busy.

There are two kinds (`Failure.refused`): pods that the kubelet refused before they ran; and pods whose containers do not
start, for as long as that lasts.

A kubelet that restarts may refuse pods that it has run for days, because its device plugins are late. Such a refusal
says nothing about the node, and does not count. A kubelet may leave no container in the status of a pod that it
refuses, so there are three signs that a pod was accepted before, and each is enough:

- its status names a container that ran;
- the operator has seen that the pod started;
- its startTime is older than the refusal: a kubelet writes it when it sees the pod for the first time.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from computepool.kube import wire
from computepool.model.cluster import Pod
from computepool.model.snapshot import Failure
from computepool.model.text import seconds_of
from computepool.observe.crashes import crashed_soon
from computepool.observe.decode import Records, not_starting
from computepool.observe.refusals import ENDED_BY_OTHERS, Refusal, is_refused, refusal_of

ADMISSION_SECONDS: Final = 30.0
"""Longest time from the moment when a kubelet sees a pod to the moment when its refusal is seen, with clocks that
differ a little."""
PER_NODE: Final = 1_000
"""The largest number that a pool can ask for. If there are more, the oldest are forgotten."""
STARTED_PODS: Final = 10_000
"""How many pods that started and are gone are remembered: their failure may be seen after they are gone."""
LONGEST_SECONDS: Final = 86_400.0
"""The longest window that a pool can ask for."""
REFRESH_SECONDS: Final = 10.0
"""The time of a pod that still fails is renewed this often."""


class FailedPod(msgspec.Struct, frozen=True):
    """A pod that has ended as Failed."""

    pod: Pod
    refused: bool = False
    """Whether its node refused it."""
    unclear: bool = False
    """Whether the reason of the refusal may lie in the pod."""
    stuck: bool = False
    """Whether a container of it never started."""
    crashed: bool = False
    """Whether a container of it ran for a moment and failed. That tells nothing about the node."""
    denied: bool = False
    """Whether it ended before any container ran, for another reason than a refusal that may be the node's fault. That
    tells nothing about the node either."""
    accepted: float | None = None
    """When its kubelet saw it for the first time, by the kubelet's clock; None if the status does not say."""
    written: float | None = None
    """When its status was written last; None if that is not known."""

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return self.pod.uid

    @property
    def resource_version(self) -> int:
        """The version of the object."""
        return self.pod.resource_version


_DISRUPTED: Final = "DisruptionTarget"
"""The condition of a pod that a controller ends: kubernetes, pkg/apis/core, since 1.25."""
_FAILED_POD = msgspec.json.Decoder(wire.FailedPod)


def read_failed_pod(raw: bytes, records: Records) -> FailedPod:
    """Read a pod whose phase is Failed; raises msgspec.ValidationError or ValueError for anything else.

    `records` shares equal parts between pods.
    """
    obj = _FAILED_POD.decode(raw)
    status = obj.status
    written = [seconds_of(part.time) for part in obj.metadata.managed_fields or () if part.subresource == "status"]
    pod = records.pod_of(obj.metadata, obj.spec, status)
    refused, stuck = is_refused(status.reason), not_starting(status)
    ended_by_others = (
        pod.deleting is not None
        or status.reason in ENDED_BY_OTHERS
        or any(condition.type == _DISRUPTED and condition.status == "True" for condition in status.conditions or ())
    )
    return FailedPod(
        pod=pod,
        refused=refused,
        unclear=refusal_of(status.reason) is Refusal.UNCLEAR,
        stuck=stuck,
        crashed=crashed_soon(raw),
        denied=not (refused or stuck or pod.has_run or ended_by_others),
        accepted=seconds_of(status.start_time),
        written=max((time for time in written if time is not None), default=None),
    )


class Failures:
    """The failures by node, each pod once, for as long as the longest window of any pool."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Start empty. `wall` is the time of day."""
        self._wall = wall
        self._window = LONGEST_SECONDS
        self._by_node: dict[str, dict[str, Failure]] = {}
        self._node_of: dict[str, str] = {}
        # The pods whose containers still do not start.
        self._failing: set[str] = set()
        # The pods that started and are gone, the earliest first.
        self._started: dict[str, None] = {}
        self._tuple: tuple[Failure, ...] = ()
        self._fresh_at: float | None = None

    def keep(self, seconds: float) -> None:
        """Set for how long a failure is kept: the longest window of any pool."""
        self._window = seconds
        self._fresh_at = None

    def started(self, uid: str) -> None:
        """Note that a pod that is gone had started. Its failure, if that is how it ended, may be seen only now."""
        self._started[uid] = None
        if len(self._started) > STARTED_PODS:
            del self._started[next(iter(self._started))]

    def ended(self, failed: FailedPod, *, listed: bool, started: bool = False) -> bool:
        """Note a pod that has ended as Failed; return whether that was not known.

        `listed`: it was found in a list, so the time of its failure was not seen. A pod that failed at once did so soon
        after its creation, so that time is taken. `started`: the pod was seen to start.
        """
        pod, now = failed.pod, self._wall()
        if not pod.node or not self._is_evidence(failed, listed=listed, started=started):
            return False
        known = self._failure(pod.uid)
        if known is not None and known.refused >= failed.refused and pod.uid not in self._failing:
            return False
        at = known.at if known else min(now, pod.created) if listed else now
        began = known.began if known else 0.0
        self._failing.discard(pod.uid)
        if at <= now - self._window:
            return False
        self._add(_failure_of(pod, at, began, refused=failed.refused, unclear=failed.unclear))
        return True

    def stuck(self, pod: Pod, *, first_seen: bool = False) -> None:
        """Note a pod whose containers do not start. It fails from now on until `recovered` is called.

        `first_seen`: it failed already when it was seen first, so it may have begun at any time since its creation.
        """
        now = self._wall()
        self._failing.add(pod.uid)
        began = min(now, pod.created) if first_seen else now
        self._add(_failure_of(pod, now, began, refused=pod.refused, unclear=pod.refused))

    def recovered(self, uid: str) -> None:
        """Note that a pod no longer fails, or is gone. Its failure stays, and ages from now on."""
        if uid in self._failing:
            self._touch(uid, self._wall())
            self._failing.discard(uid)
            self._fresh_at = None

    def all(self) -> tuple[Failure, ...]:
        """Return the failures of every node, the oldest first on each node."""
        now = self._wall()
        if self._fresh_at is None or now - self._fresh_at >= REFRESH_SECONDS:
            for uid in self._failing:
                self._touch(uid, now)
            self._prune(now - self._window)
            self._tuple = tuple(failure for failures in self._by_node.values() for failure in failures.values())
            self._fresh_at = now
        return self._tuple

    def had_run(self, failed: FailedPod, *, listed: bool, started: bool) -> bool:
        """Say whether a pod that has failed ran before. Arguments as in `ended`."""
        at = self._wall()
        if listed and failed.written is not None:
            at = failed.written
        accepted_before = failed.accepted is not None and failed.accepted < at - ADMISSION_SECONDS
        return started or failed.pod.has_run or failed.uid in self._started or accepted_before

    def _is_evidence(self, failed: FailedPod, *, listed: bool, started: bool) -> bool:
        """Say whether a pod that failed tells anything about its node."""
        return failed.stuck if not failed.refused else not self.had_run(failed, listed=listed, started=started)

    def _add(self, failure: Failure) -> None:
        self._remove(failure.uid)
        failures = self._by_node.setdefault(failure.node, {})
        failures[failure.uid] = failure
        self._node_of[failure.uid] = failure.node
        if len(failures) > PER_NODE:
            self._remove(next(iter(failures)))
        self._fresh_at = None

    def _touch(self, uid: str, at: float) -> None:
        failure = self._failure(uid)
        if failure is not None:
            self._by_node[failure.node][uid] = msgspec.structs.replace(failure, at=at)

    def _prune(self, before: float) -> None:
        for uid in [uid for uid, node in self._node_of.items() if self._by_node[node][uid].at <= before]:
            self._remove(uid)

    def _failure(self, uid: str) -> Failure | None:
        node = self._node_of.get(uid)
        return None if node is None else self._by_node[node][uid]

    def _remove(self, uid: str) -> None:
        node = self._node_of.pop(uid, None)
        if node is not None:
            failures = self._by_node[node]
            del failures[uid]
            if not failures:
                del self._by_node[node]


def _failure_of(pod: Pod, at: float, began: float, *, refused: bool, unclear: bool) -> Failure:
    return Failure(pod.uid, pod.node, pod.owner, at, refused, began, unclear, pod.shape, pod.labels)
