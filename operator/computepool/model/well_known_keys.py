"""The labels, annotations and taints that the operator reads and writes, besides those of the API's own fields."""

from typing import Final

BURST_LABEL: Final = "computepool.io/burst"
OFFERS_ANNOTATION: Final = "computepool.io/offers"
PROVIDERS_ANNOTATION: Final = "computepool.io/providers"
DELETION_COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
MOVABLE_ANNOTATION: Final = "computepool.io/movable"
LEADER_ANNOTATION: Final = "computepool.io/leader"
LEADER_SINCE_ANNOTATION: Final = "computepool.io/leader-since"
QUARANTINE_EFFECT: Final = "NoSchedule"
"""The operator's taint keeps new pods away, and running pods stay."""
