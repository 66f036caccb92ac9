"""The pods that controllers create in place of lost pods."""

from collections.abc import Sequence

import msgspec

from computepool.assess.capacity.providers import Provider, own_tolerations
from computepool.audit.node_labels import ZONE
from computepool.decide.move.eligibility import storage_bound
from computepool.model.cluster import Pod, Shape, made_again
from computepool.model.labels import Requirement, Term


class Replacements:
    """Makes the replacements of one pool's pods. Equal shapes stay one object, so that they are decided once."""

    def __init__(self, providers: Sequence[Provider], now: float) -> None:
        """`providers`: of the pool; `now`: when the replacements are created, in seconds since the epoch."""
        self._providers = providers
        self._selectors = {provider.name: provider.selector for provider in providers}
        self._now = now
        # By the pod's shape, the standbys that it was sent to, and the provider and zone that it can't leave.
        self._shapes: dict[tuple[int, frozenset[str], str, str], Shape] = {}

    def of(self, pod: Pod, source: str, zone: str) -> Pod:
        """Return the pod that comes in place of a pod on the provider `source`, in a zone; empty if it is not known.

        It keeps the age of the lost pod, which decides the order.
        """
        home = (source, zone) if storage_bound(pod) else ("", "")
        key = (id(pod.shape), pod.sent_to, *home)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._shape(pod, *home)
        return msgspec.structs.replace(made_again(pod, shape), since=self._now, unschedulable=True)

    def _shape(self, pod: Pod, provider: str, zone: str) -> Shape:
        shape, own = pod.shape, own_tolerations(pod, self._providers)
        if own != shape.tolerations:
            shape = msgspec.structs.replace(shape, tolerations=own)
        if not provider:
            return shape
        in_zone = (Requirement(ZONE[0], "In", (zone,)),) if zone else ()
        return _confined(shape, (*self._selectors[provider].requirements, *in_zone))


def _confined(shape: Shape, needs: Sequence[Requirement]) -> Shape:
    """Return the shape of a pod that can't leave its provider and zone, because its volumes may not follow."""
    terms = shape.affinity if shape.affinity is not None else (Term(),)
    confined = tuple(Term((*term.expressions, *needs), term.fields) for term in terms)
    return msgspec.structs.replace(shape, affinity=confined)
