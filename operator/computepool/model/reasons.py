"""The closed set of reasons: one enum for conditions, events, metrics, logs and `computepool explain`.

Every member carries the sentence that the reference and `explain` print; a reason that is not here can't be reported.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why something was decided, or why it waits. The value is what users see; `help` says what it means."""

    help: str

    def __new__(cls, value: str, text: str) -> Self:
        """Keep the sentence beside the value, so that a reason can't be added without one."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.help = text
        return member

    # --- the pool as a whole
    RECONCILED = "Reconciled", "The pool is watched and its spec is acted upon."
    OBSERVING = "Observing", "The pool is in Observe mode: decisions are reported and nothing is changed."
    INVALID_SPEC = (
        "InvalidSpec",
        "The spec can't be read by this version of the operator; nothing is done until it can.",
    )
    CACHE_STALE = "CacheStale", "The operator's view of nodes or pods is not current, so nothing is changed."
    NO_NODES_MATCH = "NoNodesMatch", "No node matches a provider's nodeSelector; check its labels."
    ACCELERATOR_NOT_FOUND = (
        "AcceleratorNotFound",
        "No node of any provider offers spec.accelerator.resourceName; check the name and the device plugins.",
    )
    CLAIMED_BY_OLDER_POOL = (
        "ClaimedByOlderPool",
        "Another, older pool selects the same pods and keeps them; narrow spec.workloads of one of the two.",
    )
    NODES_CLAIMED_TWICE = (
        "NodesClaimedTwice",
        "A node matches two providers of the pool and counts for the first; make their nodeSelectors disjoint.",
    )
    WRITE_REFUSED = "WriteRefused", "The API server refused a write of the operator; the message carries its answer."
    POLICY_MISSING = (
        "PolicyMissing",
        "The cluster has no MutatingAdmissionPolicy computepool-burst (Kubernetes before 1.36, or switched off in the "
        "chart): pods are burst by patching alone.",
    )
    ALL_WELL = "AllWell", "Nothing is wrong."

    # --- saturation of the primary
    PRIMARY_ALLOCATED = (
        "PrimaryAllocated",
        "The primary's accelerators are allocated beyond allocation.enterPercent for sustainSeconds.",
    )
    PODS_OVERFLOW = "PodsOverflow", "Pods have waited pendingSeconds and the primary can't take them."
    PRIMARY_HAS_ROOM = "PrimaryHasRoom", "The primary is below the thresholds."
    PRIMARY_CLEARING = "PrimaryClearing", "The pressure is off, but not yet for clearSeconds."
    PRIMARY_UNKNOWN = (
        "PrimaryUnknown",
        "The primary's capacity can't be told, so it counts as neither saturated nor free.",
    )

    # --- standby capacity
    STANDBY_HAS_ROOM = "StandbyHasRoom", "A standby provider can take pods now, or make nodes for them."
    NO_STANDBY_ROOM = "NoStandbyRoom", "No standby provider can take another pod now."
    PODS_ON_STANDBY = "PodsOnStandby", "Pods of the pool run on a standby provider."
    NO_BURST_PODS = "NoBurstPods", "No pod of the pool runs on a standby provider."

    # --- a pod is sent on
    PRIMARY_SATURATED = "PrimarySaturated", "The primary can't take the pod, so it may now use a standby provider."
    NEXT_PROVIDER = (
        "NextProvider",
        "The provider that the pod was sent to did not take it, so it may now use the next one.",
    )
    ADMITTED = "Admitted", "The pod got its toleration as it was created, by the admission policy."

    # --- a pod waits
    GATED = "Gated", "The pod has scheduling gates: it belongs to somebody else until they are lifted."
    TERMINATING = "Terminating", "The pod is being deleted."
    NOMINATED = "Nominated", "The scheduler has made room for the pod by preemption and will bind it."
    FITS_ON_PREFERRED = (
        "FitsOnPreferred",
        "A preferred provider has room for the pod: the scheduler is about to bind it.",
    )
    SOON_FREE = "SoonFree", "Terminating pods on a preferred provider are about to make room for the pod."
    BELOW_PENDING_SECONDS = "BelowPendingSeconds", "The pod has not waited saturation.pendingSeconds yet."
    AWAITING_SCHEDULER = "AwaitingScheduler", "The pod was sent on, and the scheduler is about to bind it."
    AWAITING_NODES = (
        "AwaitingNodes",
        "The provider makes nodes on demand, and is given provisionTimeoutSeconds to do so.",
    )
    NO_PROVIDER_LEFT = "NoProviderLeft", "No provider can take the pod now; the options rejected say why."
    FROZEN = "Frozen", "The pool's decisions are frozen; its conditions say why."

    # --- a provider was considered for a pod, and rejected
    NOT_ALLOWED = "NotAllowed", "The pod's annotation computepool.io/providers does not list the provider."
    PINNED = "Pinned", "The pod's own nodeSelector or node affinity keeps it off the provider."
    TAINTED = "Tainted", "The provider's nodes have a taint that neither the pod nor the provider's tolerations cover."
    NO_NODES = "NoNodes", "The provider has no node that is ready and schedulable."
    NO_ROOM = "NoRoom", "The provider's nodes have no room for the pod."
    AT_MAX_ACCELERATORS = "AtMaxAccelerators", "The pool would use more than capacity.maxAccelerators of the provider."
    NOT_BOUND_IN_TIME = (
        "NotBoundInTime",
        "The pod was offered to the provider and not bound within its provisionTimeoutSeconds.",
    )
    CHOSEN = "Chosen", "The provider takes the pod."

    # --- where a bound pod runs
    RUNS_ON_PRIMARY = "RunsOnPrimary", "The pod runs on the primary."
    RUNS_ON_STANDBY = "RunsOnStandby", "The pod runs on a standby provider."
    RUNS_ELSEWHERE = "RunsElsewhere", "The pod runs on a node of no provider of the pool."


def reason_of(value: str) -> Reason:
    """Return the reason of that name; raises ValueError for what is none."""
    for reason in Reason:
        if reason.value == value:
            return reason
    raise ValueError(f"{value!r} is no reason of this version")
