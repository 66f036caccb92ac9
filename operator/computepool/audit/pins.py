"""What pins a workload to where it runs, or makes a move costly: a closed set, the most binding first."""

from enum import StrEnum


class Pin(StrEnum):
    """Why pods can't follow when their provider is lost, or do so at a cost.

    `help` says what it means and what would loosen it. The order of the members is the order in reports.
    """

    help: str

    def __new__(cls, value: str, text: str) -> "Pin":
        """Make a member of its name and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.help = text
        return member

    NO_CONTROLLER = (
        "NoController",
        "No controller creates the pod anew when it ends. Let a Deployment, a StatefulSet or a Job own it.",
    )
    NOT_MOVABLE = (
        "NotMovable",
        'The pod\'s annotation computepool.io/movable is "false". Remove it where the pod may move after all.',
    )
    STAYS_ON_PRIMARY = (
        "StaysOnPrimary",
        "The pod's annotation computepool.io/providers is empty, so the pod never leaves the primary. List the "
        "providers that it may go to, or remove the annotation.",
    )
    VOLUME = (
        "Volume",
        "The pod has a volume that may exist at its provider alone. Where the volume can follow, set the annotation "
        'computepool.io/movable to "true".',
    )
    RESOURCE_CLAIM = (
        "ResourceClaim",
        "The pod holds devices through a resource claim, which binds it to the nodes of the claim. Where the claim "
        'can be allocated anew, set the annotation computepool.io/movable to "true".',
    )
    MODEL = (
        "Model",
        "The pod's selectors ask for a model of accelerator that no other provider has. Allow further models, or get "
        "the same model elsewhere.",
    )
    ARCHITECTURE = (
        "Architecture",
        "The pod's selectors ask for an architecture that no node elsewhere has. Build its image for further "
        "architectures.",
    )
    NODE_SELECTOR = (
        "NodeSelector",
        "The pod's nodeSelector matches no node of another provider. Remove what names the provider, the region or "
        "the node group, or give the other nodes the label.",
    )
    NODE_AFFINITY = (
        "NodeAffinity",
        "The pod's required node affinity matches no node of another provider. Loosen it, or make it preferred.",
    )
    TAINT = (
        "Taint",
        "The nodes elsewhere have a taint that the pod does not tolerate. Add the toleration, or list it among the "
        "provider's tolerations in the ComputePool.",
    )
    TOO_LARGE = (
        "TooLarge",
        "The pod requests more than any node of another provider has. Add larger nodes, or split the work.",
    )
    KEEPS_NAME = (
        "KeepsName",
        "The replacement has the same name, as in a StatefulSet, so it comes only once the lost node is deleted or has "
        "the taint node.kubernetes.io/out-of-service.",
    )
    NO_DISRUPTION_ALLOWED = (
        "NoDisruptionAllowed",
        "A PodDisruptionBudget allows no eviction now, so the pod can't be moved. Run more replicas than the budget "
        "asks for.",
    )
    DO_NOT_DISRUPT = (
        "DoNotDisrupt",
        "The pod asks not to be disrupted, such as by karpenter.sh/do-not-disrupt. It moves only off what has failed.",
    )
    KUEUE = (
        "Kueue",
        "Kueue manages the workload and chooses its flavor. A flavor that covers the nodes of all providers leaves the "
        "choice of the provider open.",
    )
    GANG = ("Gang", "The pod runs only together with others: when a member moves, the others stop and wait for it.")
    RUNS_TO_COMPLETION = (
        "RunsToCompletion",
        "The pod belongs to a Job or runs to completion: what it has done since its last checkpoint is done again.",
    )
    PLACED_BY_OTHERS = (
        "PlacedByOthers",
        "The pod has constraints that depend on other pods, such as pod affinity or topology spread. The scheduler "
        "decides about these.",
    )


STRANDING = (
    Pin.NO_CONTROLLER,
    Pin.NOT_MOVABLE,
    Pin.STAYS_ON_PRIMARY,
    Pin.VOLUME,
    Pin.RESOURCE_CLAIM,
    Pin.MODEL,
    Pin.ARCHITECTURE,
    Pin.NODE_SELECTOR,
    Pin.NODE_AFFINITY,
    Pin.TAINT,
    Pin.TOO_LARGE,
)
"""With one of these, a pod has nowhere to go although accelerators are free elsewhere. The others make a move slow or
costly."""
