"""The operator's Lease in the fake API server, as a leader leaves it."""

from __future__ import annotations

import time
from typing import Any

from computepool.model.text import rfc3339
from computepool.model.well_known_keys import TROUBLE_ANNOTATION
from tests.fakes.apiserver import LEASES, FakeApiServer

NAMESPACE = "computepool-system"


def lead(server: FakeApiServer, ago: float = 0.0, *, holder: str = "computepool-7f9c", trouble: str = "") -> None:
    """Make or renew the Lease. `ago`: seconds since the renewal, by the clock that stamps it."""
    at = rfc3339(time.time() - ago, "microseconds")
    lease: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "computepool",
            "namespace": NAMESPACE,
            "annotations": {TROUBLE_ANNOTATION: trouble} if trouble else {},
        },
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": at},
    }
    if any(item["metadata"]["namespace"] == NAMESPACE for item in server.items(LEASES)):
        server.update(LEASES, lease)
    else:
        server.create(LEASES, lease)
