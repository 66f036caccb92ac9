"""Until when a pod's annotations protect it from moves by choice.

Sources: karpenter.sh/do-not-disrupt is "true" or, since Karpenter 1.12, a duration from the pod's start (Karpenter's
pkg/utils/pod), and before 0.32 karpenter.sh/do-not-evict. The descheduler asks only whether its annotation
is there. Karpenter and Cluster Autoscaler ignore a value that they can't read; here such a value protects, because a
running pod is worth more than a better place.
"""

import re
from collections.abc import Mapping
from math import inf
from typing import Final

DO_NOT_DISRUPT: Final = "karpenter.sh/do-not-disrupt"
DO_NOT_EVICT: Final = "karpenter.sh/do-not-evict"
NO_EVICTION: Final = "descheduler.alpha.kubernetes.io/prefer-no-eviction"
SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
LONGEST_TEXT: Final = 64
"""A longer value is no duration that a person writes."""
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|us|µs|ns|m|s)", re.ASCII)


def protected_until(annotations: Mapping[str, str], started: float | None) -> float:
    """Return until when the pod asks not to be disrupted: 0 if it does not ask, infinity if it asks without an end.

    `started`: the pod's status.startTime in seconds since the epoch. Without it a duration has not begun to pass.
    """
    if annotations.get(SAFE_TO_EVICT, "true") != "true" or annotations.get(DO_NOT_EVICT, "false") != "false":
        return inf
    if NO_EVICTION in annotations:
        return inf
    text = annotations.get(DO_NOT_DISRUPT)
    if text is None or text == "false":
        return 0.0
    seconds = duration_seconds(text)
    if seconds is None or (started is None and seconds > 0):
        return inf
    return 0.0 if started is None else started + seconds


def duration_seconds(text: str) -> float | None:
    """Return the seconds of a duration such as 1h30m, as Go's time.ParseDuration reads it; None for other text.

    A negative duration counts as unreadable.
    """
    if text in ("0", "+0"):
        return 0.0
    rest = text.removeprefix("+")
    if not rest or len(rest) > LONGEST_TEXT:
        return None
    parts = _PART.findall(rest)
    if "".join(amount + unit for amount, unit in parts) != rest:
        return None
    return sum(float(amount) * _UNITS[unit] for amount, unit in parts)
