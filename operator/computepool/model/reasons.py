"""The closed set of reasons: one enum for conditions, events, metrics, logs and `computepool explain`.

Every member carries the sentence that the reference and `explain` print; no other reason can be reported.
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
        "spec.admission.mode is Always, and the cluster has no MutatingAdmissionPolicy computepool-burst (switched off "
        "in the chart, or deleted): install it with helm upgrade. Until then pending pods are patched.",
    )
    OBJECTS_UNREADABLE = (
        "ObjectsUnreadable",
        "A node, pod or namespace can't be read by this version of the operator and is missing from its view; the "
        "message names it.",
    )
    SIGNALS_MISSING = (
        "SignalsMissing",
        "Node Leases or failed pods can't be followed, so silent nodes or black holes are not noticed; the message "
        "says why.",
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
        "The primary's capacity is unknown, so it counts as neither saturated nor free.",
    )

    # --- standby capacity
    STANDBY_HAS_ROOM = "StandbyHasRoom", "A standby provider can take pods now, or make nodes for them."
    NO_STANDBY_ROOM = "NoStandbyRoom", "No standby provider can take another pod now."
    PODS_ON_STANDBY = "PodsOnStandby", "Pods of the pool run on a standby provider."
    NO_BURST_PODS = "NoBurstPods", "No pod of the pool runs on a standby provider."

    # --- a node is unhealthy
    NODE_NOT_READY = "NodeNotReady", "The node's Ready condition is False."
    NODE_UNKNOWN = "NodeUnknown", "The node's Ready condition is Unknown: the control plane has lost it."
    NODE_SILENT = "NodeSilent", "The node's heartbeat has stopped: its Lease was not renewed for health.silentSeconds."
    NODE_CONDITION = "NodeCondition", "A condition of the node that health.conditions lists says that it is unhealthy."
    DEVICES_MISSING = "DevicesMissing", "Too many of the node's accelerators are not allocatable any more."
    DEVICE_PLUGIN_GONE = "DevicePluginGone", "The node offers none of its accelerators any more."
    REMOVAL_ANNOUNCED = "RemovalAnnounced", "A taint announces that the node is about to be taken away."
    BLACK_HOLE = "BlackHole", "Pods fail at once on the node although it looks ready."
    NODES_UNHEALTHY = (
        "NodesUnhealthy",
        "Nodes are unhealthy and get no new pods, but their providers have not failed; the message names them.",
    )
    NODES_WELL = "NodesWell", "Nodes that were unhealthy are healthy again, or are gone."
    RECOVERING = "Recovering", "The node has no fault any more, but not yet for health.clearSeconds."

    # --- a provider's breaker
    PROVIDER_WELL = "ProviderWell", "The provider is used as it fits."
    PROVIDER_UNHEALTHY = "ProviderUnhealthy", "At least health.unhealthyPercent of the provider is unhealthy."
    PROVIDER_SILENT = "ProviderSilent", "The provider's heartbeats have stopped together while those of others go on."
    PROVISIONING_FAILED = (
        "ProvisioningFailed",
        "The provider did not bind several pods, one after another, within its provisionTimeoutSeconds.",
    )
    DRAINED = "Drained", "The provider's field drain is true: it is taken out of use by hand."
    CANARY_FAILED = "CanaryFailed", "The first pod on the half-open provider did not come up."
    PROVIDER_UNAVAILABLE = (
        "ProviderUnavailable",
        "The provider's breaker is open, or all of its nodes are in quarantine: no pod is sent there.",
    )
    CANARY_UNDER_WAY = (
        "CanaryUnderWay",
        "The provider's breaker is half-open, and a first pod is being tried there; others wait or go elsewhere.",
    )

    # --- the operator holds back
    ALL_SILENT = (
        "AllSilent",
        "All heartbeats stopped at once: probably the operator's view is at fault, so nothing is changed.",
    )
    TOO_MANY_FAILED = (
        "TooManyFailed",
        "More than health.maxUnhealthyPercent of the providers have failed at once, so no running pod is moved.",
    )

    # --- a running pod is moved, or should be and stays
    LEAVES_SICK_NODE = "LeavesSickNode", "The pod's node is unhealthy, and another node has room for it."
    LEAVES_PROVIDER = (
        "LeavesProvider",
        "The pod's provider has failed or is drained, and another provider has room for it.",
    )
    LOST_NODE = (
        "LostNode",
        "The pod's node is lost, so the pod is deleted; its controller makes another, a StatefulSet only once the pod "
        "is gone from the API, which may take until the node is back or deleted.",
    )
    MAKES_ROOM = "MakesRoom", "The pod makes room on the primary for a pod that can run nowhere else."
    COMES_HOME = "ComesHome", "The primary has had room for failback.stableSeconds, and takes the pod back."
    BUDGET_RETURN = "BudgetReturn", "The budget is spent, and the primary takes the pod back."
    WOULD_STRAND = "WouldStrand", "No other provider can take the pod now, so it stays where it is."
    NOT_MOVABLE = (
        "NotMovable",
        "The pod has no controller that would replace it, or its annotation computepool.io/movable is false; or "
        "nothing is wrong where it runs, and it asks not to be disrupted or is of a Job without that annotation.",
    )
    MAY_NOT_FOLLOW = (
        "MayNotFollow",
        "The pod has volumes or resource claims that may not be there on another provider; if they are, say so by its "
        'annotation computepool.io/movable: "true".',
    )
    LEFT_BY_POLICY = "LeftByPolicy", "failover.runningPods leaves the pod where it is."
    AT_MOVE_LIMIT = "AtMoveLimit", "The limit of moves at once or in a minute is reached; the pod's turn comes."
    DWELLING = "Dwelling", "The pod was moved less than failback.minDwellSeconds ago."
    COMES_BACK = (
        "ComesBack",
        "A pod of the workload was brought home, and the one in its place went to a standby by itself; so all are left "
        "there, each time for twice as long. Let the template not tolerate the standby, or annotate it with "
        'computepool.io/movable: "false".',
    )
    QUARANTINE_PENDING = "QuarantinePending", "The pod is moved once its node is seen with the taint."
    AWAITING_VERDICT = (
        "AwaitingVerdict",
        "The pod's node is silent; its pods leave once the control plane has lost it too, or its whole provider is "
        "silent.",
    )
    TOLERATES_QUARANTINE = (
        "ToleratesQuarantine",
        "The pod tolerates the taint computepool.io/unavailable, so another in its place could come back to the same "
        "node; let it tolerate less.",
    )
    EVICTION_REFUSED = "EvictionRefused", "A PodDisruptionBudget does not let the pod go; it is tried again."
    SUPERSEDED = (
        "Superseded",
        "The spec has changed since the move was decided, the pool's last pass failed, or the operator stops.",
    )
    ALREADY_LEFT = "AlreadyLeft", "The pod is terminating, gone, or on another node by now."
    WINDOW_NEVER_OPENS = "WindowNeverOpens", "failback.window can't open as it is written; correct it."
    OUTSIDE_WINDOW = "OutsideWindow", "The failback window is closed."
    NOT_STABLE = "NotStable", "The primary has not been healthy and below saturation for failback.stableSeconds."

    # --- money
    BUDGET_EXHAUSTED = "BudgetExhausted", "The budget does not allow another pod on a standby provider now."
    WITHIN_BUDGET = "WithinBudget", "Spending is within the budget."
    NO_BUDGET = "NoBudget", "The pool has no budget."

    # --- a pod is sent on
    PRIMARY_SATURATED = "PrimarySaturated", "The primary can't take the pod, so it may now use a standby provider."
    NEXT_PROVIDER = (
        "NextProvider",
        "The provider that the pod was sent to did not take it, so it may now use the next one.",
    )
    ADMITTED = "Admitted", "The pod got its toleration as it was created, by the admission policy."

    # --- a pod waits
    GATED = "Gated", "The pod has scheduling gates: another controller is in charge of it until they are lifted."
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
    TOO_LARGE = "TooLarge", "No node of the provider is large enough for the pod, even if nothing else ran there."
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
    """Return the reason of that name. Raises ValueError if this version has no such reason."""
    for reason in Reason:
        if reason.value == value:
            return reason
    raise ValueError(f"{value!r} is no reason of this version")
