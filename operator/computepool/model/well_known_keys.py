"""The labels, annotations and taints that the operator reads and writes, besides those of the API's own fields."""

from typing import Final

BURST_LABEL: Final = "computepool.io/burst"
OFFERS_ANNOTATION: Final = "computepool.io/offers"
SIGNALS_ANNOTATION: Final = "computepool.io/signals"
"""Names of the signals from metrics that were on when the pod was last sent to a standby, with commas."""
PROVIDERS_ANNOTATION: Final = "computepool.io/providers"
DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
MOVABLE_ANNOTATION: Final = "computepool.io/movable"
LEADER_ANNOTATION: Final = "computepool.io/leader"
LEADER_SINCE_ANNOTATION: Final = "computepool.io/leader-since"
QUARANTINE_EFFECT: Final = "NoSchedule"
"""The operator's taint keeps new pods away, and running pods stay."""
TROUBLE_ANNOTATION: Final = "computepool.io/trouble"
"""On the Lease of the leader: why the leader can't do its work. It needs no other right than to renew the Lease."""
