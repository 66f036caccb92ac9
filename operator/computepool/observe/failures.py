"""Pods that failed at once, by node: they tell a black hole from a node that is merely busy.

There are two kinds (`Failure.refused`): pods that the kubelet refused, which end as Failed at once; and pods whose
containers do not start, for as long as that lasts.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from computepool.kube import wire
from computepool.model.cluster import Pod
from computepool.model.snapshot import Failure
from computepool.observe.containers import any_not_starting
from computepool.observe.crashes import crashed_soon
from computepool.observe.decode import controller_of

REFUSALS: Final = frozenset(
    (
        "InvalidNodeInfo",
        "NodeAffinity",
        "NodePorts",
        "NodeShutdown",
        "UnexpectedAdmissionError",
        "UnexpectedPredicateFailureType",
        "UnknownReason",
        "VolumeAttachmentLimitExceeded",
    )
)
"""Reasons, besides OutOf<resource>, with which a kubelet refuses a pod that the scheduler took to fit there. Source:
admissionRejectionReasons in pkg/kubelet/kubelet.go, and AdmissionCheck in pkg/scheduler. Left out are:
- reasons that lie in the pod: PodOSNotSupported, AppArmor, SysctlForbidden, SMTAlignmentError, PodFeatureUnsupported
  and the like;
- TaintToleration, because a taint says it anyway;
- Evicted, because pods that have run for long get it too;
- TopologyAffinityError: a healthy node whose free devices are on several NUMA nodes gives it again and again, because
  the scheduler does not know of that."""
OUT_OF: Final = "OutOf"

PER_NODE: Final = 1_000
"""The largest number that a pool can ask for. If there are more, the oldest are forgotten."""
LONGEST_SECONDS: Final = 86_400.0
"""The longest window that a pool can ask for."""
REFRESH_SECONDS: Final = 10.0
"""The time of a pod that still fails is renewed this often."""


class FailedPod(msgspec.Struct, frozen=True, gc=False):
    """A pod that has ended as Failed."""

    uid: str
    resource_version: int
    node: str
    owner: str
    created: float
    refused: bool
    """Whether the kubelet refused it."""
    counts: bool
    """Whether it failed at once, on a node."""
    crashed: bool = False
    """Whether a container of it ran for a moment and failed. That tells nothing about the node."""


_FAILED_POD = msgspec.json.Decoder(wire.FailedPod)


def read_failed_pod(raw: bytes) -> FailedPod:
    """Read a pod whose phase is Failed; raises msgspec.ValidationError or ValueError for anything else."""
    obj = _FAILED_POD.decode(raw)
    meta, status = obj.metadata, obj.status
    refused = status.reason in REFUSALS or status.reason.startswith(OUT_OF)
    stuck = any_not_starting(status.container_statuses) or any_not_starting(status.init_container_statuses)
    return FailedPod(
        uid=meta.uid,
        resource_version=int(meta.resource_version),
        node=obj.spec.node_name,
        owner=controller_of(meta.owner_references)[0],
        created=meta.creation_timestamp.timestamp() if meta.creation_timestamp else 0.0,
        refused=refused,
        counts=bool(obj.spec.node_name) and (refused or stuck),
        crashed=crashed_soon(raw),
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
        self._tuple: tuple[Failure, ...] = ()
        self._fresh_at: float | None = None

    def keep(self, seconds: float) -> None:
        """Set for how long a failure is kept: the longest window of any pool."""
        self._window = seconds
        self._fresh_at = None

    def ended(self, pod: FailedPod, *, listed: bool) -> bool:
        """Note a pod that has ended as Failed; return whether that was not known.

        `listed`: it was found in a list, so the time of its failure was not seen. A pod that failed at once did so soon
        after its creation, so that time is taken.
        """
        known = self._failure(pod.uid)
        if not pod.counts or (known is not None and known.refused >= pod.refused and pod.uid not in self._failing):
            return False
        now = self._wall()
        at = known.at if known else min(now, pod.created) if listed else now
        self._failing.discard(pod.uid)
        return at > now - self._window and self._add(Failure(pod.uid, pod.node, pod.owner, at, pod.refused))

    def stuck(self, pod: Pod) -> None:
        """Note a pod whose containers do not start. It fails from now on until `recovered` is called."""
        self._failing.add(pod.uid)
        self._add(Failure(pod.uid, pod.node, pod.owner, self._wall(), refused=False))

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

    def _add(self, failure: Failure) -> bool:
        self._remove(failure.uid)
        failures = self._by_node.setdefault(failure.node, {})
        failures[failure.uid] = failure
        self._node_of[failure.uid] = failure.node
        if len(failures) > PER_NODE:
            self._remove(next(iter(failures)))
        self._fresh_at = None
        return True

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
