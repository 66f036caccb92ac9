"""Pods, and the answers of a Prometheus, for tests of costs and waste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from computepool.audit.activity import Measures, Owners
from computepool.audit.auditing import Audit, Question, audit
from computepool.audit.cluster import Cluster
from computepool.model.cluster import Pod
from computepool.prometheus.answers import Series
from tests.unit.audit.audited import owned

HOUR = 3600.0
MODEL = "nvidia.com/gpu.product"
SPOT_LABEL = "karpenter.sh/capacity-type"
H100 = {MODEL: "NVIDIA-H100-80GB-HBM3"}


def held(name: str, gpus: int = 1, **fields: Any) -> Pod:
    """A pod of a Deployment: the pods web-1 and web-2 belong to web."""
    return owned(name, gpus, **{"by": name.rpartition("-")[0], "kind": "Deployment", **fields})


@dataclass(frozen=True)
class Answers:
    """What a Prometheus answers about a window of an hour."""

    active: Sequence[Series] = ()
    memory: Sequence[Series] = ()
    seen: Sequence[Series] = ()
    problem: str = ""
    no_prices: str = ""

    def measures(self, found: Cluster) -> Measures:
        """The answers, as an audit of that cluster reads them."""
        owners = Owners(found)
        return Measures(
            HOUR,
            owners.highest(self.active),
            owners.highest(self.memory),
            owners.highest(self.seen),
            len(self.active),
            problem=self.problem,
            no_prices=self.no_prices,
        )


def audited(found: Cluster, answers: Answers | None = None, **question: Any) -> Audit:
    """The audit of a cluster."""
    measures = None if answers is None else answers.measures(found)
    return audit(found, Question(measures=measures, **question))


def series(value: float | None, pod: str = "", device: str = "0", **labels: str) -> Series:
    """A series of a device of the pod `default/pod`, as an exporter writes it whose labels are kept."""
    own = {"namespace": "default", "pod": pod} if pod else {}
    return Series({"UUID": f"GPU-{pod}-{device}", "gpu": device, **own, **labels}, value)


def devices(values: Mapping[str, Sequence[float | None]]) -> tuple[Series, ...]:
    """A series for each device of these pods."""
    return tuple(
        series(value, pod, str(number)) for pod, numbers in values.items() for number, value in enumerate(numbers)
    )
