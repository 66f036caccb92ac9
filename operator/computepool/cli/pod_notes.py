"""What `explain` says about a pod itself: its offers and annotations, its gang, its owner, its gates."""

from collections.abc import Iterable

from computepool.cli.cluster_view import View
from computepool.cli.pod_details import PodDetails, holder_of
from computepool.model.cluster import Pod
from computepool.model.gang_marks import GANG_LABELS, mark_of
from computepool.report.formatting import counted, span


def notes_on(view: View, pod: Pod, details: PodDetails, claims: tuple[str, ...]) -> list[str]:
    """Return sentences about a pod that a pool looks after. `claims`: the pools that select it, the oldest first."""
    notes = [*_kind(pod, details), *_gates(details), *_gang(view, pod, details)]
    if len(claims) > 1:
        notes.append(f"Also selected by {', '.join(claims[1:])}; the oldest pool, {claims[0]}, keeps it.")
    if pod.allowed is not None:
        allowed = f"allows only {', '.join(pod.allowed)}" if pod.allowed else "is empty: it never leaves the primary"
        notes.append(f"Its annotation computepool.io/providers {allowed}.")
    if pod.offers:
        offers = ", ".join(f"to {offer.provider} {span(view.now - offer.at)} ago" for offer in pod.offers)
        notes.append(f"It was sent {offers}.")
    elif pod.burst:
        notes.append(_NOT_SENT)
    if pod.shape.unmodelled:
        notes.append(f"Not looked at: its {', '.join(pod.shape.unmodelled)}; the scheduler decides on those.")
    if pod.signals and pod.burst:
        notes.append(f"It was sent to {pod.burst} while these signals were on: {', '.join(pod.signals)}.")
    return notes


def _kind(pod: Pod, details: PodDetails) -> Iterable[str]:
    if details.is_static:
        yield "It is a static pod: the kubelet of its node runs it from a file, and nothing in the cluster can move it."
    elif pod.belongs_to_node and details.owner is not None:
        kind, name = details.owner
        node = pod.node or pod.shape.only_node
        yield f"The {kind} {name} made it for {f'node {node}' if node else 'one node'}: it runs there or nowhere."


def _gates(details: PodDetails) -> Iterable[str]:
    for gate in details.gates:
        yield f"Its scheduling gate {gate} is removed by {holder_of(gate)}."


def _gang(view: View, pod: Pod, details: PodDetails) -> Iterable[str]:
    if not pod.gang:
        return
    mark = mark_of(details.labels, details.annotations)
    if mark is None:
        yield f"It is a member of a gang, by its spec. {_ONE_BY_ONE}"
        return
    key, name = mark
    if key not in GANG_LABELS:
        yield f"It is a member of the gang {name} ({key}). {_ONE_BY_ONE}"
        return
    members = [
        other for other in view.store.pods() if (other.namespace, other.labels.get(key)) == (pod.namespace, name)
    ]
    bound = sum(1 for other in members if other.node)
    counts = f"{counted(len(members), 'pod')}, of which {bound} bound and {len(members) - bound} waiting"
    yield f"It is a member of the gang {name} ({key}) of {counts}. {_ONE_BY_ONE}"


_NOT_SENT = (
    "It was not sent there: the admission policy gave it its toleration at its creation, or it is the pod's own."
)
_ONE_BY_ONE = (
    "ComputePool sends the pods of a gang one by one. Members leave failing nodes; by choice they move only if their "
    'annotation computepool.io/movable is "true".'
)
