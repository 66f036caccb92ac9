"""Hypothesis strategies for specs around the edge of what is valid.

A valid spec gets a few edits, each of which may make it invalid or contradict another: words are few, so they meet.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Spec = dict[str, Any]

_EDGY = st.text(alphabet="aZ0-._/ \n", max_size=6)
_KEYS = st.sampled_from(["zone", "computepool.io/provider"]) | _EDGY
_VALUES = st.sampled_from(["a", "b", "nebius", "crusoe"]) | _EDGY
_PRICES = st.sampled_from(["0", "2.95", "000000.000001", "1234567", "-1"]) | _EDGY


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Spec]:
    return st.fixed_dictionaries({}, optional=fields)


def _requirements() -> st.SearchStrategy[Spec]:
    few = st.sampled_from(["zone", "computepool.io/provider"])
    listed = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=2)
    compared = st.fixed_dictionaries({"key": few, "operator": st.sampled_from(["In", "NotIn"]), "values": listed})
    existing = st.fixed_dictionaries({"key": few, "operator": st.sampled_from(["Exists", "DoesNotExist"])})
    edgy = st.fixed_dictionaries(
        {"key": _KEYS, "operator": st.sampled_from(["In", "Exists"])},
        optional={"values": st.lists(_VALUES, min_size=1, max_size=3)},
    )
    return compared | existing | edgy


def _selectors() -> st.SearchStrategy[Spec]:
    few = st.dictionaries(st.just("zone"), st.sampled_from(["a", "b"]), max_size=1)
    edgy = st.dictionaries(_KEYS, _VALUES, max_size=2)
    return _optional(matchLabels=few | edgy, matchExpressions=st.lists(_requirements(), max_size=3))


def _tolerations() -> st.SearchStrategy[list[Spec]]:
    few = st.sampled_from(["zone", "computepool.io/provider", "computepool.io/unavailable"])
    values = st.sampled_from(["nebius", "crusoe", ""])
    rest = {
        "operator": st.sampled_from(["Equal", "Exists"]),
        "value": values,
        "effect": st.sampled_from(["NoSchedule", "NoExecute"]),
    }
    one = st.fixed_dictionaries({"key": few}, optional=rest)
    edgy = st.fixed_dictionaries({"key": _KEYS, "value": _VALUES})
    return st.lists(one | edgy, max_size=2)


_OF_A_PROVIDER: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["aws", "nebius", "crusoe", "n" * 63, "n" * 64]) | _EDGY,
    "nodeSelector": _selectors(),
    "tolerations": _tolerations(),
    "capacity": _optional(type=st.sampled_from(["Standing", "OnDemand"]), maxAccelerators=st.integers(0, 2)),
    "provisionTimeoutSeconds": st.sampled_from([0, 1, 86_400, 86_401]),
    "pricePerAcceleratorHour": _PRICES,
    "drain": st.booleans(),
}
_CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["XIDErrors", "GPUMissing"]) | _EDGY},
        optional={"badStatus": st.sampled_from(["True", "False"])},
    ),
    max_size=2,
)
_WINDOWS = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(["0 1 * * *", "*/5 0-6,22 1 * MON-FRI", "0 1 * *", "0 0 1 * * *", "a b c d e"]),
        "durationSeconds": st.sampled_from([59, 60, 604_800, 604_801]),
    },
    optional={"timeZone": st.sampled_from(["UTC", "Europe/Berlin", "+01:00"]) | _EDGY},
)
_OF_THE_SPEC: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.sampled_from(["Enforce", "Observe", "observe"]),
    "accelerator": _optional(resourceName=st.sampled_from(["amd.com/gpu", "gpu", "a.b/c/d"]) | _EDGY),
    "workloads": _optional(namespaceSelector=_selectors(), podSelector=_selectors()),
    "placement": st.sampled_from(["Ordered", "Cheapest"]),
    "saturation": _optional(
        pendingSeconds=st.sampled_from([-1, 0, 3600, 3601]),
        allocation=_optional(enterPercent=st.integers(79, 101), exitPercent=st.integers(78, 99)),
        clearSeconds=st.sampled_from([0, 86_400, 86_401]),
    ),
    "admission": _optional(mode=st.sampled_from(["Always", "WhenSaturated", "Off"])),
    "health": _optional(
        unhealthyPercent=st.integers(0, 101),
        conditions=_CONDITIONS,
        removalTaints=st.lists(_KEYS, max_size=2),
        breaker=_optional(backoffSeconds=st.sampled_from([1, 60, 7_200]), maxBackoffSeconds=st.sampled_from([0, 60])),
    ),
    "failover": _optional(
        runningPods=st.sampled_from(["Move", "MoveFromUnhealthyNodes", "Leave", "Stay"]),
        perMinute=st.sampled_from([0, 1, 10_000, 10_001]),
    ),
    "reschedule": _optional(policy=st.sampled_from(["Never", "WhenSaturated"]), podSelector=_selectors()),
    "failback": _optional(policy=st.sampled_from(["Never", "WhenStable"]), window=_WINDOWS),
    "budget": _optional(perHour=_PRICES, perDay=_PRICES, onExhausted=st.sampled_from(["Hold", "Return"])),
}


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Specs of which some are valid and some are not, as JSON would have them."""
    names = ["aws", "nebius", "crusoe", "on-premises"][: draw(st.sampled_from([3, 3, 3, 2, 4, 1]))]
    providers = [{"name": name, "nodeSelector": {"matchLabels": {"node-group": name}}} for name in names]
    spec: Spec = {"providers": providers}
    for _ in range(draw(st.integers(1, 3))):
        # A standby is edited most often: what is special about the primary is quickly seen.
        target = draw(st.sampled_from([providers[-1], providers[-1], providers[-1], providers[0], spec]))
        choices = _OF_THE_SPEC if target is spec else _OF_A_PROVIDER
        field = draw(st.sampled_from(sorted(choices)))
        target[field] = draw(choices[field])
    return spec
