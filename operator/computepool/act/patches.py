"""The patches, as plain values.

Pods are patched by JSON merge patch with `metadata.uid` and the full list of tolerations, and without resourceVersion:
- another pod of the same name is refused (409, the uid is a precondition);
- a toleration that was added in the meantime is not lost: the list lacks it, and the API server refuses an update that
  removes a toleration (422); the next pass sees the new list;
- written twice it changes nothing;
- the scheduler, which writes the pod's status at the same moment, does not make it fail. A resourceVersion would.
"""

from typing import Any

from computepool.decide.plan import Burst, LabelFix
from computepool.model.cluster import Offer
from computepool.model.keys import BURST_LABEL, DELETION_COST_ANNOTATION, OFFERS_ANNOTATION
from computepool.model.offers import render_offers, with_offer
from computepool.model.taints import Toleration

BURST_DELETION_COST = "-100"
"""Below the default of 0: a ReplicaSet that scales down gives the standby's capacity back first."""


def burst_patch(burst: Burst, now: float) -> dict[str, Any]:
    """Send a pod on: the missing tolerations, the label, the offer, and a low deletion cost unless it has one."""
    pod = burst.pod
    annotations = {OFFERS_ANNOTATION: render_offers(with_offer(pod.offers, Offer(burst.provider, now)))}
    if pod.deletion_cost is None:
        annotations[DELETION_COST_ANNOTATION] = BURST_DELETION_COST
    tolerations = [render_toleration(t) for t in (*pod.shape.tolerations, *burst.tolerations)]
    return {
        "metadata": {"uid": pod.uid, "labels": {BURST_LABEL: burst.provider}, "annotations": annotations},
        "spec": {"tolerations": tolerations},
    }


def label_patch(mark: LabelFix) -> dict[str, Any]:
    """Make a bound pod's label, and the deletion cost if it is ours, say where it runs."""
    metadata: dict[str, Any] = {"uid": mark.pod.uid, "labels": {BURST_LABEL: mark.provider or None}}
    if mark.provider and mark.pod.deletion_cost is None:
        metadata["annotations"] = {DELETION_COST_ANNOTATION: BURST_DELETION_COST}
    elif not mark.provider and mark.pod.deletion_cost == BURST_DELETION_COST:
        metadata["annotations"] = {DELETION_COST_ANNOTATION: None}
    return {"metadata": metadata}


def render_toleration(toleration: Toleration) -> dict[str, Any]:
    """Return a toleration as JSON, without the fields that it does not set."""
    fields = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
        "tolerationSeconds": toleration.seconds,
    }
    return {name: value for name, value in fields.items() if value not in ("", None)}
