"""The marks of gangs: labels and annotations by which controllers and schedulers mark pods that run only together.

A gang stops when a single member is evicted, and a member alone can't continue on another provider. The key alone
counts, whatever its value is.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

GANG_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "jobset.sigs.k8s.io/jobset-name": "JobSet: api/jobset/v1alpha2 JobSetNameKey; TrainJobs run as JobSets",
        "leaderworkerset.sigs.k8s.io/name": "LeaderWorkerSet: api/leaderworkerset/v1 SetNameLabelKey",
        "training.kubeflow.org/job-name": "Kubeflow training operator and MPI operator: v2beta1 JobNameLabel",
        "ray.io/cluster": "KubeRay: utils.RayClusterLabelKey; RayJob and RayService run as RayClusters",
        "kueue.x-k8s.io/pod-group-name": "Kueue: plain pods that are admitted together",
        "workload.codeflare.dev/appwrapper": "AppWrapper: v1beta2 AppWrapperLabel",
        "volcano.sh/job-name": "Volcano: batch/v1alpha1 JobNameKey",
        "kai.scheduler/subgroup-name": "KAI scheduler: subgroup of a PodGroup",
        "grove.io/podgang": "Grove: LabelPodGang",
        "scheduling.x-k8s.io/pod-group": "scheduler-plugins coscheduling: PodGroupLabel",
        "pod-group.scheduling.sigs.k8s.io": "scheduler-plugins coscheduling before 0.27, Koordinator",
    }
)
"""Label keys, each with its source."""
GANG_ANNOTATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "scheduling.k8s.io/group-name": "Volcano: scheduling/v1beta1 KubeGroupNameAnnotationKey",
        "scheduling.volcano.sh/group-name": "Volcano: scheduling/v1beta1 VolcanoGroupNameAnnotationKey",
        "pod-group-name": "KAI scheduler: PodGroupAnnotationForPod",
        "gang.scheduling.koordinator.sh/name": "Koordinator: AnnotationGangName",
        "yunikorn.apache.org/task-group-name": "Apache YuniKorn: AnnotationTaskGroupName",
        "leaderworkerset.sigs.k8s.io/size": "LeaderWorkerSet: SizeAnnotationKey",
    }
)
"""Annotation keys, each with its source."""
_LABELS: Final = frozenset(GANG_LABELS)
_ANNOTATIONS: Final = frozenset(GANG_ANNOTATIONS)


def mark_of(labels: Mapping[str, str], annotations: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first mark among a pod's labels and annotations as key and value, or None. The value names the gang.

    Labels come first: they tell which other pods are members.
    """
    found = [*((key, labels[key]) for key in GANG_LABELS if key in labels)]
    found += [(key, annotations[key]) for key in GANG_ANNOTATIONS if key in annotations]
    return found[0] if found else None


def marks_gang(labels: Iterable[str], annotations: Iterable[str]) -> bool:
    """Say whether any of these keys of a pod's labels or annotations marks the member of a gang."""
    return not (_LABELS.isdisjoint(labels) and _ANNOTATIONS.isdisjoint(annotations))
