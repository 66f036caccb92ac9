"""The closed set of reasons: one enum for conditions, events, metrics, logs and `computepool explain`.

Every member carries the text that the reference and `explain` print. A reason that is not here can't be reported.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why something was decided, or why it waits. The value is what users see; `help` says what it means."""

    help: str

    def __new__(cls, value: str, text: str) -> Self:
        """Keep the text beside the value, so that no reason can be added without its text."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.help = text
        return member

    # --- the pool as a whole
    RECONCILED = "Reconciled", "The operator watches the pool and acts on its spec."
    OBSERVING = "Observing", "The pool is in Observe mode: the operator reports its decisions and changes nothing."
    INVALID_SPEC = (
        "InvalidSpec",
        "This version of the operator can't read the spec, so it does nothing for the pool. Correct the spec, or "
        "upgrade the operator.",
    )
    PASS_FAILED = (
        "PassFailed",
        "The operator's last pass over the pool ended in an error, so nothing changes: no pod is sent or moved, and no "
        "taint is set or removed. The operator tries again within a minute. Please report the error.",
    )
    CACHE_STALE = "CacheStale", "The operator's view of nodes or pods is not current, so the operator changes nothing."
    ACCESS_MISSING = (
        "AccessMissing",
        "The API server does not let the operator read objects that it needs, or does not know the kind. So the "
        "operator changes nothing for the pool, and the pool's other figures stay as they were. The message names the "
        "right that is missing. `helm upgrade` restores the chart's roles (rbac.create) and definition (crds.enabled).",
    )
    NO_NODES_MATCH = (
        "NoNodesMatch",
        "No node matches a provider's nodeSelector. Check the selector and the labels of the nodes.",
    )
    ACCELERATOR_NOT_FOUND = (
        "AcceleratorNotFound",
        "No node of any provider offers spec.accelerator.resourceName. Check the name and the device plugins.",
    )
    DEVICES_UNKNOWN = (
        "DevicesUnknown",
        "Pods hold the accelerators of a node through resource claims (dynamic resource allocation), which this "
        "version can't count. So the node is neither supply nor unhealthy. A pool freezes if its primary has only such "
        "nodes.",
    )
    CLAIMED_BY_OLDER_POOL = (
        "ClaimedByOlderPool",
        "An older pool selects the same pods and keeps them. Narrow spec.workloads of one of the two pools.",
    )
    NODES_CLAIMED_TWICE = (
        "NodesClaimedTwice",
        "A node matches two providers of the pool and counts for the first of them. Make their nodeSelectors disjoint.",
    )
    CONFIGURATION_WELL = "ConfigurationWell", "The spec fits the cluster as far as the operator can see."
    STANDBY_NOT_TAINTED = (
        "StandbyNotTainted",
        "Nodes of a standby have no taint of effect NoSchedule or NoExecute that keeps off pods that were not sent "
        "there. So the scheduler puts pods there although the primary has room. Give the nodes the taint. From then on "
        "only pods that are sent there get there, and in mode Observe none is sent.",
    )
    STANDBY_TAINT_NOT_TOLERATED = (
        "StandbyTaintNotTolerated",
        "Nodes of a standby have a taint that neither the provider's tolerations nor any pod of the pool tolerates. A "
        "pod that does not tolerate it can't run there. Correct the taint, or add a toleration to the provider.",
    )
    PRIMARY_TAINT_NOT_TOLERATED = (
        "PrimaryTaintNotTolerated",
        "Nodes of the primary have a taint that no pod of the pool tolerates, so no pod of the pool can run there. "
        "Remove the taint, give the pods a toleration, or leave the nodes out of the primary's nodeSelector.",
    )
    NO_DEVICES_ON_NODE = (
        "NoDevicesOnNode",
        "Nodes of a standby have been Ready for provisionTimeoutSeconds and have not offered the accelerator. The "
        "device plugin or the driver may not run there: their DaemonSets must tolerate the nodes' taint. Or the nodes "
        "have no accelerators, or dynamic resource allocation (DRA) serves them, which this version can't count.",
    )
    NO_NAMESPACE_MATCHES = (
        "NoNamespaceMatches",
        "No namespace matches spec.workloads.namespaceSelector, so the pool has no pods. Label a namespace, or correct "
        "the selector.",
    )
    NO_PODS_MATCH = (
        "NoPodsMatch",
        "No pod matches spec.workloads now. That is no fault of a pool that is scaled to zero. Otherwise check the "
        "selectors.",
    )
    ACCELERATOR_NOT_REQUESTED = (
        "AcceleratorNotRequested",
        "Pods match the selectors of spec.workloads, but none of them requests spec.accelerator.resourceName. Pods "
        "without such a request belong to no pool.",
    )
    SILENT_SECONDS_TOO_SHORT = (
        "SilentSecondsTooShort",
        "health.silentSeconds is shorter than two heartbeats. A single late heartbeat proves nothing, so a node counts "
        "as silent only after two heartbeats. Raise health.silentSeconds.",
    )
    REMOVAL_TAINT_IS_OWN = (
        "RemovalTaintIsOwn",
        "All nodes of a provider carry a taint of health.removalTaints that the pool's pods tolerate, so all of its "
        "nodes count as unhealthy. Remove the key from health.removalTaints if the taint announces no removal.",
    )
    WRITE_REFUSED = (
        "WriteRefused",
        "The API server refuses a write of the operator, such as the patch that sends a pod to a provider. The "
        "condition Degraded has its answer.",
    )
    POLICY_MISSING = (
        "PolicyMissing",
        "spec.admission.mode is Always, but the cluster has no MutatingAdmissionPolicy computepool-burst: it is "
        "switched off in the chart, or was deleted. Install it with helm upgrade. Without it, pods are sent to "
        "standbys only by patches of pending pods.",
    )
    OBJECTS_UNREADABLE = (
        "ObjectsUnreadable",
        "This version of the operator can't read a node, pod or namespace in full, so that object is missing from its "
        "view or is counted otherwise than it is written. The message names the object.",
    )
    EVIDENCE_MISSING = (
        "EvidenceMissing",
        "The operator can't follow node Leases or failed pods, or can't read the Leases of silent nodes. So it misses "
        "silent nodes or black holes, or keeps silent providers in use. The message says why.",
    )
    ALL_WELL = "AllWell", "Nothing is wrong."

    # --- saturation of the primary
    PRIMARY_ALLOCATED = (
        "PrimaryAllocated",
        "The allocated share of the primary's accelerators has been at or above allocation.enterPercent for "
        "sustainSeconds, or the primary was saturated and the share is still above allocation.exitPercent.",
    )
    PODS_OVERFLOW = "PodsOverflow", "Pods have waited pendingSeconds and the primary can't take them."
    PRIMARY_HAS_ROOM = (
        "PrimaryHasRoom",
        "Neither pods that wait, nor the allocated share, nor a signal makes the primary saturated, or not for long "
        "enough.",
    )
    PRIMARY_CLEARING = (
        "PrimaryClearing",
        "Neither pods that wait nor the allocated share makes the primary saturated any more, but not yet for "
        "clearSeconds.",
    )
    PRIMARY_UNKNOWN = (
        "PrimaryUnknown",
        "The primary's capacity is not known, so the primary counts as neither saturated nor free.",
    )

    METRIC_PRESSURE = (
        "MetricPressure",
        "A signal of spec.saturation.metrics has been at its threshold `enter`, or beyond, for its sustainSeconds.",
    )
    METRIC_UNKNOWN = (
        "MetricUnknown",
        "A signal of spec.saturation.metrics was on, and its data is Unknown now. So the primary still counts as "
        "saturated. The condition SignalsKnown says what is missing.",
    )

    # --- the forecast of when the primary is full
    FORECAST_FULL = (
        "ForecastFull",
        "The demand of the last minutes grows so that the primary will be full within the horizon of spec.forecast. In "
        "mode Act this opens admission ahead of time.",
    )
    PRIMARY_FILLING = (
        "PrimaryFilling",
        "The demand of the last minutes grows so that the primary will be full, but not within the horizon, or the "
        "horizon is not known yet.",
    )
    PRIMARY_FULL = "PrimaryFull", "The demand has reached the capacity of the primary."
    NO_TREND = (
        "NoTrend",
        "The demand of the last minutes does not grow steadily, or the primary will not be full within four times "
        "spec.forecast.windowMinutes.",
    )
    HORIZON_UNKNOWN = (
        "HorizonUnknown",
        "The primary will be full, but no pod was seen to become Ready on a standby, so the time that a burst needs is "
        "not known. Admission does not open ahead of time. Set spec.forecast.horizonSeconds.",
    )
    HISTORY_TOO_SHORT = (
        "HistoryTooShort",
        "The demand is not known for all of spec.forecast.windowMinutes, so the forecast is Unknown. After a restart "
        "the operator reads it from the source of metrics, if the source scrapes the operator.",
    )
    PRIMARY_GROWS = (
        "PrimaryGrows",
        "The primary makes nodes on demand, so its capacity has no known limit and there is no forecast.",
    )

    # --- signals from metrics
    SIGNALS_KNOWN = "SignalsKnown", "Every signal from metrics has data that is current and complete enough."
    NO_SIGNALS = "NoSignals", "The pool has no signals from metrics."
    NO_ANSWER = (
        "NoAnswer",
        "The signal's query has no answer: the source of metrics does not answer, or the query is refused. The message "
        "says why, and what to change. Unknown data is neither pressure nor relief.",
    )
    NO_SERIES = (
        "NoSeries",
        "No series of the answer belongs to a node or pod that should have one, or all of them are older than "
        "maxAgeSeconds. `computepool signals POOL` shows every series and why it was left out.",
    )
    TOO_FEW_SERIES = (
        "TooFewSeries",
        "Fewer nodes or pods than coveragePercent have a current sample. Nodes that fail often send no samples, so "
        "the others may look well while the provider fails.",
    )

    # --- standby capacity
    STANDBY_HAS_ROOM = "StandbyHasRoom", "A standby provider can take pods now, or can make nodes for them."
    NO_STANDBY_ROOM = "NoStandbyRoom", "No standby provider can take another pod now."
    PREFERRED_STANDBY_FIRST = (
        "PreferredStandbyFirst",
        "A preferred standby takes pods and can't be listed at admission: it has maxAccelerators, waits for its first "
        "pod, or a workload is held off it. Until it has taken no more pods for some seconds, admission does "
        "not open to a less preferred standby, and the operator patches pending pods in order.",
    )
    NO_ROOM_FOR_RUNNING_PODS = (
        "NoRoomForRunningPods",
        "Standbys have room, but no pod that runs could use it: the pods' requests, selectors, affinity, tolerations, "
        "volumes, the annotation computepool.io/providers, maxAccelerators or the budget keep them off.",
    )
    PODS_ON_STANDBY = "PodsOnStandby", "Pods of the pool run on a standby provider."
    NO_BURST_PODS = "NoBurstPods", "No pod of the pool runs on a standby provider."

    # --- a node is unhealthy
    NODE_NOT_READY = "NodeNotReady", "The node's Ready condition is False."
    NODE_UNKNOWN = (
        "NodeUnknown",
        "The node's Ready condition is Unknown: the control plane has lost contact with the node.",
    )
    NODE_SILENT = "NodeSilent", "The node's heartbeat has stopped: its Lease was not renewed for health.silentSeconds."
    NODE_CONDITION = (
        "NodeCondition",
        "A condition of the node that health.conditions lists says that the node is unhealthy.",
    )
    DEVICES_MISSING = "DevicesMissing", "Too many of the node's accelerators are no longer allocatable."
    DEVICE_PLUGIN_GONE = "DevicePluginGone", "The node no longer offers any of its accelerators."
    REMOVAL_ANNOUNCED = "RemovalAnnounced", "A taint or a condition announces that the node is about to be removed."
    BLACK_HOLE = "BlackHole", "Pods fail immediately on the node, although the node looks ready."
    NODES_UNHEALTHY = (
        "NodesUnhealthy",
        "Some nodes are unhealthy and get no new pods, but no provider has failed. The message names the nodes.",
    )
    NODES_WELL = "NodesWell", "Nodes that were unhealthy are healthy again, or are gone."
    RECOVERING = (
        "Recovering",
        "The node has no fault any more, but not yet for health.clearSeconds. Until then it gets no new pods.",
    )

    # --- a provider's breaker
    PROVIDER_WELL = "ProviderWell", "The provider is used without restriction."
    PROVIDER_UNHEALTHY = (
        "ProviderUnhealthy",
        "At least health.unhealthyPercent of the provider's nodes, or of its accelerators, are unhealthy.",
    )
    PROVIDER_SILENT = (
        "ProviderSilent",
        "The heartbeats of the provider's nodes have stopped together while other nodes' heartbeats go on.",
    )
    METRIC_UNHEALTHY = (
        "MetricUnhealthy",
        "A signal of spec.health.metrics has been at its threshold `enter`, or beyond, for its sustainSeconds.",
    )
    PROVISIONING_FAILED = (
        "ProvisioningFailed",
        "The provider did not bind pods of several workloads and shapes within its provisionTimeoutSeconds, and bound "
        "no other pod meanwhile. If it makes nodes on demand and is full, it is used again as soon as a place becomes "
        "free.",
    )
    DRAINED = (
        "Drained",
        "A person took the provider out of use: its field drain was set to true, or a drill is under way (field "
        "drill).",
    )
    DRAIN_ENDED = (
        "DrainEnded",
        "The provider's field drain is not true any more, or its drill has ended. "
        "The provider gets a first pod as soon as it has a node that "
        "is well, and is in full use again once that pod has been ready there for health.breaker.proveSeconds.",
    )
    DRILL_BEGAN = (
        "DrillBegan",
        "A drill has begun: the provider is drained until the drill ends, and its running pods leave as moves by "
        "choice.",
    )
    DRILL_ENDED = (
        "DrillEnded",
        "The drill has ended. The provider is used again. If it is not well, it is tried first.",
    )
    DRILL_STOPPED = (
        "DrillStopped",
        "The operator stopped the drill before its time. The provider is used again. If it is not well, it is tried "
        "first. A drill never goes on while a provider fails, or while pods need the drilled provider.",
    )
    CANARY_FAILED = "CanaryFailed", "The first pod on the half-open provider failed."
    PROVIDER_UNAVAILABLE = (
        "ProviderUnavailable",
        "The provider's breaker is not closed, or all of its nodes are in quarantine. So pods are not sent there, "
        "apart from a first pod that tries it.",
    )
    CANARY_UNDER_WAY = (
        "CanaryUnderWay",
        "The provider's breaker is half-open, and a first pod is being tried there. Other pods wait or go elsewhere.",
    )

    # --- the operator holds back
    ALL_SILENT = (
        "AllSilent",
        "All heartbeats stopped at once. The fault is probably in the operator's own view, so nothing is changed.",
    )
    TOO_MANY_FAILED = (
        "TooManyFailed",
        "More than health.maxUnhealthyPercent of the providers have failed at once, so no running pod is moved.",
    )

    # --- a running pod is moved, or should be and stays
    LEAVES_SICK_NODE = "LeavesSickNode", "The pod's node is unhealthy, and another node takes the pod."
    LEAVES_PROVIDER = (
        "LeavesProvider",
        "The pod's provider has failed or is drained, and another provider takes the pod.",
    )
    LOST_NODE = (
        "LostNode",
        "The pod's node does not answer. If failover.lostPods is Release, the pod is deleted, whatever disruption "
        "budgets say. Otherwise a pod with a fixed name, such as a StatefulSet's, stays. In both cases its name is "
        "taken until the node is back or deleted. If the node has stopped for good, delete it or give it the taint "
        "node.kubernetes.io/out-of-service.",
    )
    MAKES_ROOM = "MakesRoom", "The pod makes room on the primary for a pod that can run nowhere else."
    COMES_HOME = "ComesHome", "The primary has had room for failback.stableSeconds and takes the pod back."
    BUDGET_RETURN = "BudgetReturn", "The budget is spent, and the primary takes the pod back."
    WOULD_STRAND = "WouldStrand", "No other provider can take the pod now, so it stays where it is."
    NOT_MOVABLE = (
        "NotMovable",
        'The pod has no controller that would replace it, or its annotation computepool.io/movable is "false". '
        "Where nothing is wrong, a pod also stays while it asks not to be disrupted, and if it belongs to a Job or a "
        'gang, or runs to completion (restartPolicy), and that annotation is not "true". Such a pod, gangs apart, '
        "leaves only a node that is dead or about to go, because its owner may not afford a failure.",
    )
    MAY_NOT_FOLLOW = (
        "MayNotFollow",
        "The pod has volumes or resource claims that may not exist on another provider. If they do, set the pod's "
        'annotation computepool.io/movable: "true".',
    )
    LEFT_BY_POLICY = (
        "LeftByPolicy",
        "failover.runningPods, or drainRunningPods of the drained provider, says that the pod stays where it is.",
    )
    MOVE_COMPLETED = (
        "MoveCompleted",
        "The replacement of the evicted pod is bound on the provider that it was meant for.",
    )
    LANDED_ELSEWHERE = (
        "LandedElsewhere",
        "The scheduler bound the replacement of the evicted pod on another provider than the provider that it was "
        "meant for.",
    )
    MOVE_RETURNED = (
        "MoveReturned",
        "The scheduler bound the replacement of the evicted pod on the provider that the pod had left. Look at its "
        "affinity, topology spread and volumes, which the operator does not model.",
    )
    NOT_REPLACED = (
        "NotReplaced",
        "No replacement of the evicted pod was bound within two minutes, or the pod has no owner that makes one. Look "
        "at the owner and its pending pods.",
    )
    AT_MOVE_LIMIT = "AtMoveLimit", "The limit of moves at once or in a minute is reached. The pod waits for its turn."
    DWELLING = "Dwelling", "The pod was moved or sent to a standby less than failback.minDwellSeconds ago."
    MOVE_FAILED = (
        "MoveFailed",
        "The last move of a pod of the same owner came to nothing, or its end is not known: its replacement was not "
        "bound in time, is bound on another provider than meant, or failed there and left again. Or the last moves of "
        "several owners in the pod's namespace came to nothing. The pods stay, each time for twice as long. Check why "
        "the replacements could not run there (such as a quota of the namespace), or annotate the pod template with "
        'computepool.io/movable: "false".',
    )
    AWAITS_REPLACEMENT = (
        "AwaitsReplacement",
        "An earlier move of a pod of the same owner is not over: its replacement is missing, is not Ready any more, or "
        "has not been Ready for health.breaker.proveSeconds on the provider that was meant. Until then no other pod of "
        "the owner moves by choice. Or several owners in the pod's namespace have such a move, and no move there has "
        "ended well yet: pods of other owners there wait too. A Ready pod with constraints that ComputePool does not "
        "model also leaves a failing node or provider only after the replacement of the pod before it is bound.",
    )
    QUARANTINE_PENDING = "QuarantinePending", "The pod is moved once the operator sees the taint on the pod's node."
    AWAITING_VERDICT = (
        "AwaitingVerdict",
        "The pod's node or provider has a fault that may pass by itself. Pods leave a silent node or provider after "
        "failover.silenceSeconds, a node that lacks accelerators after health.deviceGoneSeconds, and a node that "
        "reports another fault after health.sustainSeconds. They leave a single silent node only if the control plane "
        "has lost the node too.",
    )
    UNAFFECTED = (
        "Unaffected",
        "New pods fail immediately on the pod's node, or on most nodes of its provider. The pod itself is not "
        "affected, so it stays.",
    )
    TOLERATES_QUARANTINE = (
        "ToleratesQuarantine",
        "The pod tolerates the taint computepool.io/unavailable, so its replacement could come back to the same node. "
        "Narrow the pod's tolerations.",
    )
    EVICTION_REFUSED = "EvictionRefused", "A PodDisruptionBudget does not let the pod go. The operator tries again."
    SUPERSEDED = (
        "Superseded",
        "The spec has changed since the move was decided, the pool's last pass failed, or the operator is stopping.",
    )
    ALREADY_LEFT = "AlreadyLeft", "The pod is already terminating, gone, or on another node."
    WINDOW_NEVER_OPENS = (
        "WindowNeverOpens",
        "failback.window never opens as it is written. Correct its schedule or time zone.",
    )
    OUTSIDE_WINDOW = "OutsideWindow", "The failback window is closed."
    NOT_STABLE = "NotStable", "The primary has not been healthy and below saturation for failback.stableSeconds yet."

    # --- money
    BUDGET_EXHAUSTED = "BudgetExhausted", "The budget does not allow another pod on a standby provider now."
    WITHIN_BUDGET = "WithinBudget", "Spending is within the budget."
    NO_BUDGET = "NoBudget", "The pool has no budget."

    # --- a pod is sent to a standby
    PRIMARY_SATURATED = "PrimarySaturated", "The primary can't take the pod, and a standby provider can."
    SENT_TO_PREEMPT = (
        "SentToPreempt",
        "No provider has free room for the pod, but pods of lower priority run on the standby. With the standby's "
        "toleration on the pod, the scheduler preempts pods there for it. capacity.preemption: Never prevents that.",
    )
    NEXT_PROVIDER = (
        "NextProvider",
        "The provider that the pod was sent to did not take it, and the next provider can.",
    )
    ADMITTED = "Admitted", "The admission policy gave the pod its toleration when the pod was created."

    # --- a pod waits
    GATED = "Gated", "The pod has scheduling gates. The operator leaves it alone until the gates are removed."
    TERMINATING = "Terminating", "The pod is being deleted."
    NODE_BOUND = (
        "NodeBound",
        "A single node can take the pod: a DaemonSet's pod, or a pod whose selectors name the node. It waits for that "
        "node and is no demand of the pool.",
    )
    NOMINATED = (
        "Nominated",
        "The scheduler makes room for the pod by preemption and will bind it. If the preempted pods do not end within "
        "the provider's provisionTimeoutSeconds, the pod may go elsewhere.",
    )
    FITS_ON_PREFERRED = (
        "FitsOnPreferred",
        "A preferred provider has room for the pod, and the scheduler is about to bind it. If the scheduler refuses it "
        "for provisionTimeoutSeconds, or says nothing about it for ten minutes, the pod may go elsewhere.",
    )
    SOON_FREE = (
        "SoonFree",
        "Terminating pods on a preferred provider will soon make room for the pod. It waits for them for half a minute "
        "beyond saturation.pendingSeconds at most.",
    )
    BELOW_PENDING_SECONDS = "BelowPendingSeconds", "The pod has not waited for saturation.pendingSeconds yet."
    AWAITING_SCHEDULER = "AwaitingScheduler", "The pod was sent to a provider, and the scheduler is about to bind it."
    AWAITING_NODES = "AwaitingNodes", "The provider makes nodes on demand and has provisionTimeoutSeconds to do so."
    SCHEDULER_ABSENT = (
        "SchedulerAbsent",
        "No scheduler of the pod's spec.schedulerName has bound a pod or judged one yet, and pods wait for it. The pod "
        "is not sent to a provider. Check that this scheduler runs, or correct the name.",
    )
    SCHEDULER_SILENT = (
        "SchedulerSilent",
        "The scheduler has neither bound pods nor judged them unschedulable for as long as a provider is given to bind "
        "a pod. Check that the scheduler runs. No provider is blamed for these pods.",
    )
    NODE_STARTING = (
        "NodeStarting",
        "A new node of the provider has room for the pod, but still carries a startup taint. The node has the "
        "provider's provisionTimeoutSeconds to get ready.",
    )
    NO_PROVIDER_LEFT = "NoProviderLeft", "No provider can take the pod now. The rejected options say why."
    PODS_WAITING = (
        "PodsWaiting",
        "Pods have waited longer than saturation.pendingSeconds, and no provider can take them for want of room or "
        "money. The events of each pod say what would help.",
    )
    FROZEN = "Frozen", "The pool's decisions are frozen. The pool's conditions say why."

    # --- a provider was considered for a pod, and rejected
    NOT_ALLOWED = "NotAllowed", "The pod's annotation computepool.io/providers does not list the provider."
    UNKNOWN_PROVIDER = (
        "UnknownProvider",
        "The pod's annotation computepool.io/providers has a name that is no provider of the pool. Such a name counts "
        "for nothing: the pod goes to the other providers that it lists, or waits for the primary. Correct the name.",
    )
    PINNED = "Pinned", "The pod's own nodeSelector or node affinity keeps it off the provider."
    TAINTED = (
        "Tainted",
        "The provider's nodes have a taint that the pod does not tolerate, even with the provider's tolerations.",
    )
    NO_NODES = "NoNodes", "The provider has no node that is ready and schedulable."
    NO_ROOM = "NoRoom", "The provider's nodes have no room for the pod."
    TOO_LARGE = "TooLarge", "No node of the provider is large enough for the pod, even if nothing else ran there."
    AT_MAX_ACCELERATORS = (
        "AtMaxAccelerators",
        "With the pod, the pool would use more than capacity.maxAccelerators of the provider.",
    )
    NOT_BOUND_IN_TIME = (
        "NotBoundInTime",
        "The pod was sent to the provider, but was not bound within the provider's provisionTimeoutSeconds.",
    )
    INSUFFICIENT_CAPACITY = (
        "InsufficientCapacity",
        "The provider did not bind a pod with the same requests and selectors in time. Until a back-off is over, such "
        "pods may use only places that exist there. If the scheduler left such a place unused, pods of the same "
        "workload are not sent there, and other workloads go on. Other pods are not affected.",
    )
    WORKLOAD_BACK_OFF = (
        "WorkloadBackOff",
        "At least three pods of the workload have failed in a row on the provider, and more than are ready there; ten "
        "in a row are always enough. Or a virtual kubelet there refuses a pod of the workload, which stays pending. "
        "Its next pods are not sent there until a back-off is over, and refused pods leave for another "
        "provider. Look at the failed pods: the fault is the workload's or the provider's.",
    )
    CHOSEN = "Chosen", "The provider takes the pod."
    LESS_PREFERRED = (
        "LessPreferred",
        "The provider could take the pod, but the pod goes to a provider before it, or waits for one. The order is "
        "that of spec.providers; with placement Cheapest, standbys are sorted by price.",
    )

    # --- where a bound pod runs
    RUNS_ON_PRIMARY = "RunsOnPrimary", "The pod runs on the primary."
    RUNS_ON_STANDBY = "RunsOnStandby", "The pod runs on a standby provider."
    RUNS_ELSEWHERE = "RunsElsewhere", "The pod runs on a node that belongs to no provider of the pool."


def reason_of(value: str) -> Reason:
    """Return the reason with this value. Raises ValueError where there is none."""
    for reason in Reason:
        if reason.value == value:
            return reason
    raise ValueError(f"{value!r} is no reason of this version")
