"""Owners of pods: each creates a number of equal pods, and another pod in place of each that was evicted."""

import itertools

import msgspec

from computepool.model.cluster import Pod, Shape
from computepool.simulate.cluster import Cluster, Event, PodChanged, PodGone


class PodTemplate(msgspec.Struct, frozen=True):
    """What the pods of one owner have in common."""

    shape: Shape
    namespace: str = "default"
    priority: int = 0
    allowed: tuple[str, ...] | None = None
    """The standby providers that its pods may go to; None allows all."""
    movable: bool | None = None
    """What the annotation computepool.io/movable says."""
    kind: str = "ReplicaSet"
    """The owner's kind."""


class Owners:
    """All owners of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        """They learn of their pods at once."""
        self.held = False
        """Whether a quota refuses all new pods."""
        self.lineage: dict[str, str] = {}
        """By uid of every pod that was ever created here: what stays the same as pods replace one another."""
        self._cluster = cluster
        self._templates: dict[str, PodTemplate] = {}
        # By lineage: the pods of a real cluster, as their owners would make them again.
        self._adopted: dict[str, Pod] = {}
        # By uid: the owners of the pods that are there and not about to end.
        self._kept: dict[str, str] = {}
        # Owner and lineage of the pods that are missing.
        self._missing: list[tuple[str, str]] = []
        self._numbers = itertools.count()
        cluster.listeners.append(self._see)

    @property
    def missing(self) -> list[str]:
        """The lineages of the pods that were evicted and are not replaced yet."""
        return [lineage for _, lineage in self._missing]

    def create(self, template: PodTemplate, count: int) -> list[Pod]:
        """Let a new owner create so many pods."""
        number = next(self._numbers)
        owner = f"rs-{number}"
        self._templates[owner] = template
        return [self._create(owner, name, name) for name in (f"w{number}-{index}" for index in range(count))]

    def grow(self, owner: str, count: int) -> list[Pod]:
        """Let an owner create so many more pods."""
        names = (f"{owner}-more{next(self._numbers)}" for _ in range(count))
        return [self._create(owner, name, name) for name in names]

    def adopt(self, pod: Pod, template: Pod) -> None:
        """Let the owner of a pod of a real cluster make another such pod when it is gone.

        `template`: the pod as its owner made it, without what was added to it later.
        """
        self.lineage[pod.uid] = pod.uid
        self._kept[pod.uid] = pod.owner
        self._adopted[pod.uid] = template

    def want_fewer(self, uid: str) -> None:
        """Let the owner of a pod want one pod less, and remove this pod."""
        del self._kept[uid]
        self._cluster.delete_pod(uid)

    def replace_missing(self) -> int:
        """Let every owner create the pods that it misses; return how many."""
        if self.held:
            return 0
        missing, self._missing = self._missing, []
        for owner, lineage in missing:
            self._create(owner, f"{lineage}-r{next(self._numbers)}", lineage)
        return len(missing)

    def _create(self, owner: str, name: str, lineage: str) -> Pod:
        if lineage in self._adopted:
            return self._replace(owner, lineage)
        template = self._templates[owner]
        uid = f"uid-{template.namespace}-{name}"
        self.lineage[uid] = lineage
        self._kept[uid] = owner
        return self._cluster.create_pod(
            Pod(
                uid=uid,
                namespace=template.namespace,
                name=name,
                resource_version=0,
                shape=template.shape,
                labels={},
                created=0.0,
                since=0.0,
                priority=template.priority,
                allowed=template.allowed,
                movable=template.movable,
                owner=owner,
                owner_kind=template.kind,
            )
        )

    def _replace(self, owner: str, lineage: str) -> Pod:
        """Make a pod like one of a real cluster."""
        template = self._adopted[lineage]
        number = next(self._numbers)
        uid = f"{lineage}-r{number}"
        name = template.name if template.keeps_name else f"{template.name}-r{number}"
        self.lineage[uid] = lineage
        self._kept[uid] = owner
        return self._cluster.create_pod(msgspec.structs.replace(template, uid=uid, name=name))

    def _see(self, event: Event) -> None:
        match event:
            case PodGone(pod, finished=True):
                self._kept.pop(pod.uid, None)
            case PodGone(pod):
                self._miss(pod)
            case PodChanged(pod) if pod.deleting is not None and not self._waits_for_name(pod):
                self._miss(pod)

    def _waits_for_name(self, pod: Pod) -> bool:
        """Say whether the owner makes the next pod only once the name of this one is free."""
        return pod.keeps_name and self.lineage.get(pod.uid) in self._adopted

    def _miss(self, pod: Pod) -> None:
        owner = self._kept.pop(pod.uid, None)
        if owner is not None:
            self._missing.append((owner, self.lineage[pod.uid]))
