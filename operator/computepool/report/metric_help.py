"""What each metric means. `/metrics` serves these texts, and docs/reference/metrics.md is made from them."""

from typing import Final

from computepool.prometheus.errors import KINDS

HELP: Final[dict[str, str]] = {
    # --- one pass over a pool
    "provider_accelerators": "Accelerators of a provider by state: allocatable, allocated, free, and unhealthy, which "
    "are those that can't be used now, also on drained and cordoned nodes",
    "burst_pods": "The pool's pods on a standby",
    "pending_pods": "Pods that wait and that a node could take now",
    "gated_pods": "Pods with scheduling gates, such as pods in a queue of Kueue; they are not pending",
    "cost_dollars_per_hour": "Hourly cost of the pool's pods, where a price is given",
    "primary_saturated": "1 saturated, 0 not, -1 unknown",
    "breaker_state": "0 closed, 1 half-open, 2 open",
    "provider_drained": "1 while the pool's spec drains the provider, also for a drill, else 0",
    "drill": "1 while a drill of the provider is under way, else 0",
    "unhealthy_nodes": "Unhealthy nodes of a provider",
    "hold_offs": "Workloads (WorkloadBackOff) and shapes of pods (InsufficientCapacity) that are not sent to a standby "
    "for now, because it has failed such pods",
    "budget_spent_dollars": "Money spent on standbys today (UTC)",
    "condition": "1 for the current status of each of the pool's conditions, 0 for the other statuses",
    "stuck_pods": "Running pods that should leave and can't: EvictionRefused for a long time, LostNode, or "
    "WouldStrand; beyond some hundreds they are not counted",
    "frozen": "1 while nothing is decided about the pool, else 0",
    "held_back": "1 while too much has failed at once (TooManyFailed), so that no running pod is moved, else 0",
    "demand_accelerators": "The demand on the primary of a pool with a forecast",
    "forecast_full_seconds": "Seconds until the primary is full: earliest, likely, latest",
    "forecast_opens_admission": "1 while a forecast opens admission, else 0",
    "signal_on": "Signals from metrics: 1 on, 0 off, -1 unknown",
    "signal_value": "Value of a signal from metrics; no series while the signal is unknown",
    "signal_age_seconds": "Age of the oldest sample that counts for a signal",
    # --- what was done, and what went wrong
    "bursts_total": "Pods sent to a standby",
    "moves_total": "Moves of running pods, by result: moved, released (deleted off a lost node), refused (by a "
    "disruption budget; each attempt counts), dropped (the last check before the eviction found no more reason or no "
    "place), gone (the pod had ended before), failed",
    "move_outcomes_total": "Moves by what became of the replacement, once that is seen: Replaced (bound on the "
    "provider `to`), LandedElsewhere, Returned (bound on `from`), NotReplaced (not bound within two minutes)",
    "write_refusals_total": "Patches and evictions that the API server refused; a refusal by a disruption budget does "
    "not count",
    "pass_failures_total": "Passes that ended in an unexpected error, whose traceback is in the log; the pool is left "
    "as it is and tried again after 1 s, 2 s and so on up to a minute, and other pools go on",
    "invariant_breaches_total": "Plans that broke an invariant of ARCHITECTURE.md, by its number, which is a defect; "
    "nothing of the plan is carried out, and the log has the facts",
    "events_dropped_total": "Events that were not sent because too many waited",
    # --- the source of metrics
    "metric_query_seconds": "Time from a query of the source of metrics, which asks for ages and values, to its answer "
    "or error",
    "metric_query_errors_total": f"Queries of the source of metrics without an answer, by kind of error: "
    f"{', '.join(KINDS)}. Failed is an unexpected error, whose traceback is in the log",
    # --- the process
    "decision_seconds": "Time to assess and decide one pass",
    "burst_latency_seconds": "Time from the event that made a pod overflow to the answer to its patch",
    "leader": "1 while this process leads, else 0",
    "cache_age_seconds": "Seconds since the view of a resource was last known to be current. If nodes, pods or "
    "namespaces are older than 120 s, nothing is done. If node leases or failed pods are, silence or black holes are "
    "not noticed (EvidenceMissing)",
    "build_info": "1, with the versions of the operator and of its Python",
}
"""By name, without `computepool_`."""
