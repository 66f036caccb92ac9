"""Where a node is, and what it is: the well-known labels of clouds, neoclouds, autoscalers and device plugins.

Sources: kubernetes.io/docs/reference/labels-annotations-taints; karpenter.sh/docs/concepts/scheduling; the labels that
EKS, GKE, AKS, DigitalOcean, Linode and CoreWeave document for their node pools; the labels of NVIDIA's GPU feature
discovery and of AMD's device plugin.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from computepool.model.labels import Labels

UNKNOWN: Final = ""
"""The value of a label that a node does not have."""
SPOT: Final = "spot"
ON_DEMAND: Final = "on-demand"
RESERVED: Final = "reserved"

REGION: Final = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONE: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
NODE_GROUP: Final = (
    "eks.amazonaws.com/nodegroup",
    "alpha.eksctl.io/nodegroup-name",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "karpenter.sh/nodepool",
    "karpenter.sh/provisioner-name",
    "doks.digitalocean.com/node-pool",
    "lke.linode.com/pool-id",
    "nebius.com/node-group-id",
    "compute.coreweave.com/node-pool",
    "node.cluster.x-k8s.io/node-group",
    "kops.k8s.io/instancegroup",
)
"""The first label that a node has names its node group."""
MODEL: Final = (
    "nvidia.com/gpu.product",
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-accelerator",
    "cloud.google.com/gke-tpu-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.azure.com/sku-gpu-name",
    "gpu.nvidia.com/model",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
)
"""The model of the accelerators; the instance type where only that is known."""
ARCHITECTURE: Final = ("kubernetes.io/arch", "beta.kubernetes.io/arch")

_CAPACITY: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("karpenter.sh/capacity-type", {"spot": SPOT, "on-demand": ON_DEMAND, "reserved": RESERVED}),
    ("eks.amazonaws.com/capacityType", {"SPOT": SPOT, "ON_DEMAND": ON_DEMAND, "CAPACITY_BLOCK": RESERVED}),
    ("cloud.google.com/gke-spot", {"true": SPOT}),
    ("cloud.google.com/gke-preemptible", {"true": SPOT}),
    ("cloud.google.com/gke-provisioning", {"spot": SPOT, "standard": ON_DEMAND, "reservation": RESERVED}),
    ("kubernetes.azure.com/scalesetpriority", {"spot": SPOT, "regular": ON_DEMAND}),
    ("node.kubernetes.io/lifecycle", {"spot": SPOT, "normal": ON_DEMAND, "on-demand": ON_DEMAND}),
)
PINS_MODEL: Final = frozenset(MODEL)
PINS_ARCHITECTURE: Final = frozenset(ARCHITECTURE)


class Place(msgspec.Struct, frozen=True):
    """Where a node is, and what it is; an empty text for what its labels do not tell."""

    region: str = UNKNOWN
    zone: str = UNKNOWN
    node_group: str = UNKNOWN
    capacity_type: str = UNKNOWN
    """spot, on-demand or reserved."""
    model: str = UNKNOWN


def place_of(labels: Labels) -> Place:
    """Read a node's labels."""
    return Place(
        region=_first(labels, REGION),
        zone=_first(labels, ZONE),
        node_group=_first(labels, NODE_GROUP),
        capacity_type=next((known[value] for key, known in _CAPACITY if (value := labels.get(key, "")) in known), ""),
        model=_first(labels, MODEL),
    )


def _first(labels: Labels, keys: Iterable[str]) -> str:
    return next((value for key in keys if (value := labels.get(key))), UNKNOWN)
