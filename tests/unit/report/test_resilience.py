"""Resilient agrees with what a pass decides: which pods could use which room on standbys."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.assess.breakers.not_bound import digest_of
from computepool.model.api import PROVIDER_KEY
from computepool.model.cluster import Node, Pod, Shape
from computepool.model.labels import Requirement
from computepool.model.reasons import Reason
from computepool.model.state import HoldOff
from computepool.model.taints import Taint, Toleration, tolerated
from computepool.report.resilience import MAX_KINDS, resilience_of
from tests.builders import GPU, NOW, node, pod, pool, pool_state, provider, shape, term
from tests.unit.report.passes import report_on, said

AWS = provider("aws")
TWO = pool(AWS, provider("nebius"))
VOLUME = shape(1, unmodelled=("volumes",))


def runs(name: str, gpus: int = 1, on: str = "a1", **how: Any) -> Pod:
    """A pod that runs on a node and may move."""
    return pod(name, gpus, on=on, owner="web", owner_kind="ReplicaSet", **how)


# -- limits, money, hold-offs


@pytest.mark.parametrize("on_demand", [False, True])
@pytest.mark.parametrize(("limit", "resilient"), [(20, "False"), (24, "True")])
def test_a_pod_that_exceeds_the_limit_of_a_standby_can_use_no_room_there(
    limit: int, resilient: str, on_demand: bool
) -> None:
    of = pool(AWS, provider("nebius", max_accelerators=limit, on_demand=on_demand))
    sent = {"tolerates": ["nebius"], "burst": "nebius"}
    pods = [runs("h", 8), runs("x", 8, "n1", **sent), runs("y", 8, "n2", **sent)]
    nodes = [node("a1"), node("n1"), node("n2"), node("n3")]
    assert said(report_on(of, nodes, pods), "Resilient")[0] == resilient
    with_waiting = report_on(of, nodes, [*pods, pod("w", 8)])
    assert said(with_waiting, "Resilient")[0] == resilient
    assert bool(with_waiting.plan.bursts) == (resilient == "True")


@pytest.mark.parametrize(
    ("budget", "resilient"),
    [
        ({"perHour": "10"}, "False"),
        ({"perHour": "24"}, "True"),
        ({"perDay": "23.9"}, "False"),
        ({"perDay": "24"}, "True"),
    ],
)
def test_a_pod_that_costs_more_than_is_left_of_the_budget_can_use_no_room(
    budget: dict[str, str], resilient: str
) -> None:
    of, nodes = pool(AWS, provider("nebius", price="3"), budget=budget), [node("a1"), node("n1")]
    assert said(report_on(of, nodes, [runs("h", 8)]), "Resilient")[0] == resilient
    sent = report_on(of, nodes, [runs("h", 8), pod("w", 8)]).plan.bursts
    assert bool(sent) == (resilient == "True")


@pytest.mark.parametrize(("price", "resilient"), [("3", "False"), ("2", "True")])
def test_without_pods_the_budget_has_to_cover_one_accelerator(price: str, resilient: str) -> None:
    of = pool(AWS, provider("nebius", price=price), budget={"perHour": "2"})
    assert said(report_on(of, [node("a1"), node("n1")], []), "Resilient")[0] == resilient


def test_money_that_pods_on_standbys_cost_is_not_left() -> None:
    of = pool(AWS, provider("nebius", price="3"), budget={"perHour": "30"})
    nodes = [node("a1"), node("n1"), node("n2")]
    for gpus, resilient in ((5, "True"), (6, "False")):
        there = runs("x", gpus, "n1", tolerates=["nebius"], burst="nebius")
        assert said(report_on(of, nodes, [runs("h", 5), there]), "Resilient")[0] == resilient


@pytest.mark.parametrize(("gpus", "resilient"), [(8, "False"), (4, "True")])
def test_a_standby_that_made_no_node_for_pods_like_the_waiting_pods_is_no_resilience(gpus: int, resilient: str) -> None:
    of = pool(AWS, provider("grown", on_demand=True))
    held = HoldOff("grown", Reason.INSUFFICIENT_CAPACITY, digest_of(shape(gpus)), 1, NOW, NOW + 60)
    seen = report_on(of, [node("a1", 4)], [pod("w", 8)], state=pool_state(hold_offs=(held,)))
    assert said(seen, "Resilient")[0] == resilient


def test_a_pool_that_is_scaled_to_zero_is_as_resilient_as_before() -> None:
    vision = shape(1, tolerations=[Toleration("team", "Equal", "ml", "NoSchedule")])
    nodes = [node("a1"), node("n1", taints=[_TEAM])]
    for pods in ([runs("h", shaped=vision)], []):
        assert said(report_on(TWO, nodes, pods), "Resilient")[2] == "free accelerators: 8 on nebius."
    # It is told, because the next pods may not tolerate it, and wakes nobody.
    assert said(report_on(TWO, nodes, []), "Degraded")[0] == "False"


# -- volumes


def test_volumes_keep_running_pods_where_they_are_and_no_waiting_pod() -> None:
    nodes = [node("a1", 1), node("n1", 8)]
    seen = report_on(TWO, nodes, [runs("h", shaped=VOLUME), pod("w", shaped=VOLUME)])
    assert [burst.pod.name for burst in seen.plan.bursts] == ["w"]
    _, reason, message = said(seen, "Resilient")
    assert (reason, message[:52]) == ("NoRoomForRunningPods", "free accelerators: 8 on nebius, for other pods only.")
    assert said(report_on(TWO, nodes, [pod("w", shaped=VOLUME)]), "Resilient")[0] == "True"


def test_room_that_is_only_made_is_not_told_as_free_accelerators() -> None:
    grown = pool(AWS, provider("grown", on_demand=True))
    message = said(report_on(grown, [node("a1", 1)], [runs("h", shaped=VOLUME)]), "Resilient")[2]
    assert message.startswith("grown makes nodes on demand, for other pods only.")
    assert "free accelerators" not in message


# -- many kinds of pods


@pytest.mark.parametrize("selector", [None, {"zone": "b"}], ids=["anywhere", "in-a-zone"])
def test_kinds_of_pods_that_fit_nowhere_hide_no_pod_that_could_use_the_room(selector: dict[str, str] | None) -> None:
    pinned = [runs(f"p{index}", shaped=shape(1, selector={"app": f"x{index}"})) for index in range(2 * MAX_KINDS)]
    large = runs("large", shaped=shape(2, selector=selector or {}))
    nodes = [node("a1", 1000), node("n1", labels={"zone": "b"})]
    assert said(report_on(TWO, nodes, pinned), "Resilient")[1] == "NoRoomForRunningPods"
    assert said(report_on(TWO, nodes, [*pinned, large]), "Resilient")[0] == "True"


def test_selectors_are_read_once_for_each_kind_of_node(monkeypatch: pytest.MonkeyPatch) -> None:
    zones = [term(Requirement("zone", "In", (f"z{index}",))) for index in range(20)]
    pods = [runs(f"p{index}", shaped=shape(1, affinity=[zone])) for index, zone in enumerate(zones)]
    nodes = [node(f"n{index}", labels={"zone": f"y{index % 2}", "own": str(index)}) for index in range(50)]
    # As in the store, equal taints are one.
    nodes = [msgspec.structs.replace(one, taints=nodes[0].taints) for one in nodes]
    seen = report_on(TWO, [node("a1", 100), *nodes], pods)
    asked = 0
    admits = Shape.admits

    def counted(of: Shape, *args: Any) -> bool:
        nonlocal asked
        asked += 1
        return admits(of, *args)

    monkeypatch.setattr(Shape, "admits", counted)
    assert resilience_of(seen).others_only
    assert asked == 2 * len(pods)


# -- what always holds

_TEAM = Taint("team", "ml", "NoSchedule")
_NODES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from("abc"), st.booleans(), st.integers(0, 4)), min_size=1, max_size=6
)
_PODS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from([None, "a", "b", "d"]),
        st.booleans(),
        st.sampled_from([None, "n0", "n1"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=6,
)


@given(_NODES, _PODS)
def test_free_accelerators_are_those_of_nodes_where_some_running_pod_fits(
    nodes: list[tuple[int, str, bool, int]], pods: list[tuple[int, str | None, bool, str | None, int]]
) -> None:
    standby = [
        node(f"n{index}", gpus, labels={"zone": zone}, taints=[_TEAM] if team else None, room={"cpu": cpu})
        for index, (gpus, zone, team, cpu) in enumerate(nodes)
    ]
    running = [
        runs(
            f"p{index}",
            shaped=shape(
                gpus,
                more={"cpu": cpu} if cpu else None,
                selector={"zone": zone} if zone else {},
                affinity=[term(Requirement("kubernetes.io/hostname", "NotIn", (name, "other")))] if name else None,
                tolerations=[Toleration("team", "Exists")] if team else [],
            ),
        )
        for index, (gpus, zone, team, name, cpu) in enumerate(pods)
    ]
    report = report_on(TWO, [node("a1", 100), *standby], running)
    supply = report.assessment.supplies[1]
    free = 0
    for info in supply.usable:
        if any(
            one.shape.admits(info.node.name, info.node.labels)
            and tolerated(info.node.taints, one.shape.tolerations + supply.provider.tolerations)
            and all(info.left.get(name, 0) >= amount for name, amount in one.shape.requests)
            for one in running
        ):
            free += info.accelerators[GPU].free // 1000
    found = resilience_of(report)
    assert (0 if found.others_only else found.free.get("nebius", 0)) == free


@given(st.permutations([node(f"n{index}", index, labels={"zone": "ab"[index % 2]}) for index in range(4)]))
def test_resilience_does_not_depend_on_the_order_of_nodes(nodes: list[Node]) -> None:
    pods = [
        runs("h", shaped=shape(2, selector={"zone": "b"})),
        runs("i", shaped=shape(1, selector={PROVIDER_KEY: "x"})),
    ]
    assert resilience_of(report_on(TWO, [node("a1"), *nodes], pods)).free == {"nebius": 3}
