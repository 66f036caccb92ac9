"""The reasons with which kubelets and virtual kubelets refuse a pod that the scheduler has bound to their node."""

from enum import Enum
from types import MappingProxyType
from typing import Final

_KUBELET: Final = "kubernetes: admissionRejectionReasons in pkg/kubelet/kubelet.go"


class Refusal(Enum):
    """What a refusal is evidence of."""

    NODE = "node"
    """The node: it cannot run a pod that fits there by all that the scheduler knows."""
    UNCLEAR = "unclear"
    """The node or the pod: a virtual kubelet gives one reason for a provider without capacity and for a bad pod."""
    POD = "pod"
    """The pod, or a circumstance that another fault of the node tells already."""


_TABLE: Final = (
    # reason, what it is evidence of, source
    ("InvalidNodeInfo", Refusal.NODE, _KUBELET),
    ("NodeAffinity", Refusal.NODE, "kubernetes: AdmissionCheck in pkg/scheduler"),
    ("NodePorts", Refusal.NODE, "kubernetes: AdmissionCheck in pkg/scheduler"),
    ("NodeShutdown", Refusal.NODE, _KUBELET),
    ("UnexpectedAdmissionError", Refusal.NODE, _KUBELET),
    ("UnexpectedPredicateFailureType", Refusal.NODE, _KUBELET),
    ("UnknownReason", Refusal.NODE, _KUBELET),
    ("VolumeAttachmentLimitExceeded", Refusal.NODE, _KUBELET),
    # Virtual kubelets. They leave a pod Pending for good if it is to be restarted, and Failed otherwise.
    ("ProviderFailed", Refusal.UNCLEAR, "virtual-kubelet: handleProviderError in node/pod.go; azure-aci and others"),
    ("OffloadingBackOff", Refusal.UNCLEAR, "liqo: pkg/virtualKubelet/forge/pods.go"),
    ("OffloadingAborted", Refusal.UNCLEAR, "liqo: pkg/virtualKubelet/forge/pods.go"),
    # A taint tells it anyway.
    ("TaintToleration", Refusal.POD, _KUBELET),
    # Pods that have run for long get it too.
    ("Evicted", Refusal.POD, _KUBELET),
    # A healthy node whose free devices are on several NUMA nodes refuses so again and again: the scheduler does not
    # know of NUMA nodes.
    ("TopologyAffinityError", Refusal.POD, _KUBELET),
    ("AppArmor", Refusal.POD, _KUBELET),
    ("InitContainerRestartPolicyForbidden", Refusal.POD, _KUBELET),
    ("PodFeatureUnsupported", Refusal.POD, _KUBELET),
    ("PodLevelResourcesNotSupported", Refusal.POD, _KUBELET),
    ("PodOSNotSupported", Refusal.POD, _KUBELET),
    ("PodOSSelectorNodeLabelDoesNotMatch", Refusal.POD, _KUBELET),
    ("SMTAlignmentError", Refusal.POD, "kubernetes: pkg/kubelet/cm/cpumanager/policy_static.go"),
    ("SupplementalGroupsPolicyNotSupported", Refusal.POD, _KUBELET),
    ("SysctlForbidden", Refusal.POD, _KUBELET),
)
REFUSALS: Final = MappingProxyType({reason: refusal for reason, refusal, _ in _TABLE})
"""By the reason in a pod's status."""
OUT_OF: Final = "OutOf"
"""With this prefix and a resource, such as `OutOfcpu`, a kubelet has less of it than the scheduler knows."""
ENDED_BY_OTHERS: Final = frozenset(
    ("DeadlineExceeded", "Evicted", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated")
)
"""Reasons of pods that others have ended: a deadline, the kubelet for want of something, or the end of the node."""


def refusal_of(reason: str) -> Refusal | None:
    """Return what a pod's status.reason is evidence of; None if it is no refusal that is known."""
    if not reason:
        return None
    return Refusal.NODE if reason.startswith(OUT_OF) else REFUSALS.get(reason)


def is_refused(reason: str) -> bool:
    """Say whether the reason is a refusal that may be the node's fault."""
    return refusal_of(reason) in (Refusal.NODE, Refusal.UNCLEAR)
