"""Burst at admission: the API server gives new pods the toleration and the preference as they are created.

The fair equal is a pod that is created with both, and then nobody but the scheduler has to do anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from e2e import chart, objects, pools
from e2e.bench.contenders import ours
from e2e.bench.report import Result
from e2e.bench.rounds import Scale, alternate, compared
from e2e.bench.stand import PRIMARY, STANDBY, Stand

LIMIT = 1.3


def run(stand: Stand, scale: Scale) -> Result:
    """Measure and compare."""
    labels = pools.provider(stand.site, PRIMARY)["nodeSelector"]["matchLabels"]
    ready_made = {"tolerations": [objects.provider_toleration(STANDBY)], "affinity": objects.preference(labels)}
    measured = alternate(
        "burst at admission", stand, {"ours": _admitting, "ready-made": _nobody}, scale, {"ready-made": ready_made}
    )
    rows = []
    for size, mine in measured["ours"].items():
        figures = ["bound.p50"] if size == 1 else ["bound.p50", "bound_last"]
        what = f"created -> bound with admission burst, {size} pod{'s' if size > 1 else ''}"
        rows += compared(what, mine, measured["ready-made"][size], figures, LIMIT)
    return Result("admission", rows, msgspec.to_builtins(measured, str_keys=True))


@contextmanager
def _admitting(stand: Stand) -> Iterator[list[int]]:
    """The operator with admission open, once that has taken effect."""
    with ours(stand, admission={"mode": "Always"}) as pids:
        pools.wait_admission(stand.site, stand.site.namespace, is_open=True)
        chart.until(lambda: _is_admitted(stand), "the policy to admit new pods to the standby")
        yield pids


@contextmanager
def _nobody(_stand: Stand) -> Iterator[list[int]]:
    """The scheduler alone: no operator, and no pool that the policy would be bound to."""
    yield []


def _is_admitted(stand: Stand) -> bool:
    path = stand.cluster.api.resource("pods").path(stand.site.namespace)
    tried = stand.cluster.api.request("POST", path, objects.gpu_pod("try"), query=chart.DRY_RUN)
    return objects.provider_toleration(STANDBY) in tried["spec"]["tolerations"]
