"""The patches of pods, as plain values.

Each is a JSON merge patch with `metadata.uid` and the full list of tolerations, without resourceVersion:
- the API server refuses it for another pod of the same name (409, the uid is a precondition);
- a toleration that another client has added is kept: the list lacks it, and the API server refuses an update that
  removes a toleration (422); the next pass sees the new list;
- a second write of the same patch changes nothing;
- it succeeds while the scheduler writes the pod's status; with a resourceVersion it would fail then.
"""

from typing import Any

from computepool.decide.plan import Burst, LabelFix
from computepool.model.cluster import Offer
from computepool.model.offers_annotation import render_offers, with_offer
from computepool.model.taints import Toleration
from computepool.model.well_known_keys import (
    BURST_LABEL,
    DELETION_COST_ANNOTATION,
    OFFERS_ANNOTATION,
    SIGNALS_ANNOTATION,
)

BURST_DELETION_COST = "-100"
"""Below the default of 0, so that a ReplicaSet that scales down frees the standby first."""


def burst_patch(burst: Burst, now: float) -> dict[str, Any]:
    """Return the patch that sends a pod to a standby; `now` is in seconds since the epoch.

    It adds the missing tolerations, the label, the offer, the signals that are on, and a low deletion cost if the pod
    has none.
    """
    pod = burst.pod
    annotations: dict[str, str | None] = {
        OFFERS_ANNOTATION: render_offers(with_offer(pod.offers, Offer(burst.provider, now)))
    }
    if burst.signals or pod.signals:
        annotations[SIGNALS_ANNOTATION] = ",".join(burst.signals) or None
    if pod.deletion_cost is None:
        annotations[DELETION_COST_ANNOTATION] = BURST_DELETION_COST
    tolerations = [render_toleration(toleration) for toleration in (*pod.shape.tolerations, *burst.tolerations)]
    return {
        "metadata": {"uid": pod.uid, "labels": {BURST_LABEL: burst.provider}, "annotations": annotations},
        "spec": {"tolerations": tolerations},
    }


def label_patch(fix: LabelFix) -> dict[str, Any]:
    """Return the patch that corrects a bound pod's label, and its deletion cost unless its user has set it."""
    metadata: dict[str, Any] = {"uid": fix.pod.uid, "labels": {BURST_LABEL: fix.provider or None}}
    if fix.provider and fix.pod.deletion_cost is None:
        metadata["annotations"] = {DELETION_COST_ANNOTATION: BURST_DELETION_COST}
    elif not fix.provider and fix.pod.deletion_cost == BURST_DELETION_COST:
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
