"""The pods that controllers create in place of lost pods."""

from collections.abc import Sequence

import msgspec

from computepool.assess.capacity.providers import Provider
from computepool.audit.node_labels import ZONE
from computepool.decide.move.eligibility import storage_bound
from computepool.model.cluster import Pod, Shape
from computepool.model.labels import Requirement, Term
from computepool.model.well_known_keys import BURST_LABEL


class Replacements:
    """Makes the replacements of one pool's pods. Equal shapes stay one object, so that they are decided once."""

    def __init__(self, providers: Sequence[Provider], now: float) -> None:
        """`providers`: of the pool; `now`: when the replacements are created, in seconds since the epoch."""
        self._selectors = {provider.name: provider.selector for provider in providers}
        self._given = frozenset(toleration for provider in providers for toleration in provider.tolerations)
        self._now = now
        # By the pod's shape, whether it was sent to a standby, and the provider and zone that it can't leave.
        self._shapes: dict[tuple[int, bool, str, str], Shape] = {}

    def of(self, pod: Pod, source: str, zone: str) -> Pod:
        """Return the pod that comes in place of a pod on the provider `source`, in a zone; empty if it is not known.

        It keeps the age of the lost pod, which decides the order.
        """
        sent = bool(pod.offers or pod.burst)
        home = (source, zone) if storage_bound(pod) else ("", "")
        key = (id(pod.shape), sent, *home)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._shape(pod.shape, sent=sent, provider=home[0], zone=home[1])
        return msgspec.structs.replace(
            pod,
            shape=shape,
            labels={name: value for name, value in pod.labels.items() if name != BURST_LABEL} if sent else pod.labels,
            node="",
            since=self._now,
            unschedulable=True,
            offers=(),
            signals=(),
            started=None,
            ready=False,
            failing=False,
            refused=False,
            ready_since=None,
            has_run=False,
        )

    def _shape(self, shape: Shape, *, sent: bool, provider: str, zone: str) -> Shape:
        if sent:
            # The operator or its admission policy gave these to the pod. They are not in its controller's template.
            own = tuple(toleration for toleration in shape.tolerations if toleration not in self._given)
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
