"""What a source of metrics answered, as one pass sees it. Numbers are as the source gave them, ages are in seconds."""

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import msgspec

from computepool.model.api import HealthMetric, MetricSignal


class Samples(msgspec.Struct, frozen=True):
    """The samples of one node, one pod, or the whole pool."""

    values: tuple[float, ...]
    """One value for each series, in no order."""
    age: float = 0.0
    """Age of the oldest sample when the source answered, by the source's own clock. Negative: it is of the future."""


NO_SAMPLES: Final[Mapping[str, Samples]] = MappingProxyType({})


T = TypeVar("T")
_REMEMBERED: Final = 64


class Answer(msgspec.Struct, frozen=True, dict=True):
    """The samples of one answer to a query. Series that belong to nothing that is known are left out."""

    at: float
    """When it came, in seconds since the epoch, by the operator's clock."""
    nodes: Mapping[str, Samples] = NO_SAMPLES
    """By name of the node."""
    pods: Mapping[str, Samples] = NO_SAMPLES
    """By namespace and name of the pod, joined by a slash."""
    whole: Samples | None = None
    """The samples of the whole pool."""

    def once(self, key: Hashable, work_out: Callable[[], T]) -> T:
        """Return what follows from this answer alone, worked out once for all passes that read the answer.

        `key`: of the result, together with all that it depends on besides the answer.
        """
        if key not in self._results:
            if len(self._results) >= _REMEMBERED:
                # While the source is down, an answer stays for long, and pods come and go.
                self._results.clear()
            self._results[key] = work_out()
        return cast(T, self._results[key])

    @cached_property
    def _results(self) -> dict[Hashable, Any]:
        return {}


class SignalData(msgspec.Struct, frozen=True):
    """All that is known of one signal's data."""

    answer: Answer | None = None
    """The last answer; None if there was none yet."""
    error: str = ""
    """Why the last query got no answer, for people; empty if it got one."""
    verdict: bool | None = None
    """Whether the operator says that the signal is on, for a reader who has its verdict and not the data."""


NO_DATA: Final = SignalData(error="The source has not answered yet.")
SATURATION: Final = "saturation"
HEALTH: Final = "health"


def signal_key(metric: MetricSignal, provider: str) -> str:
    """Return the key of a signal's data and state: `saturation/<name>`, or `health/<name>/<provider>`."""
    if isinstance(metric, HealthMetric):
        return f"{HEALTH}/{metric.name}/{provider}"
    return f"{SATURATION}/{metric.name}"
