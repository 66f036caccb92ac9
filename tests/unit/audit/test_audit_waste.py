"""What accelerators do that pods hold: idle is only what was seen to do nothing, and unknown never counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.audit.activity import Device, devices_by_pod
from computepool.audit.auditing import Audit
from computepool.audit.checks import Check, CheckName
from computepool.audit.cluster import Cluster
from computepool.audit.prices import PriceRule
from computepool.audit.waste import Use, Uses, use_of
from computepool.model.cluster import Pod
from computepool.prometheus.answers import Series
from tests.builders import GPU, NOW, node, shape
from tests.unit.audit.audited import cluster
from tests.unit.audit.money_cases import HOUR, Answers, audited, devices, held, series

NODES = [node("a1"), node("a2"), node("n1")]
AWS = (PriceRule("aws", Decimal("2.50")),)
Numbers = Mapping[str, Sequence[float | None]]


def runs(name: str, gpus: int = 1, on: str = "a1", hours: float = 10) -> Pod:
    return held(name, gpus, on=on, started=NOW - hours * HOUR)


def measured(active: Numbers, memory: Numbers, seen: float = 12.0) -> Answers:
    seen_of = {name: [seen] * len(values) for name, values in active.items()}
    return Answers(devices(active), devices(memory), devices(seen_of))


def uses(found: Cluster, measures: Answers) -> Uses:
    waste = audited(found, answers=measures, prices=AWS).waste
    assert waste is not None
    return waste.uses


def check_of(found: Audit, name: CheckName) -> Check | None:
    return next((check for check in found.checks if check.name is name), None)


@pytest.mark.parametrize(
    ("device", "age", "use"),
    [
        (Device(50.0, 0.0, 1.0), HOUR, Use.BUSY),
        (Device(0.5, 0.0, 1.0), HOUR, Use.IDLE),
        (Device(0.0, 60_000.0, 1.0), HOUR, Use.HOLDS_MEMORY),
        (Device(None, 0.0, 1.0), HOUR, Use.UNKNOWN),
        # Activity alone is proof, but its absence is none.
        (Device(50.0, None, 0.1), 10.0, Use.BUSY),
        (Device(0.0, None, 1.0), HOUR, Use.UNKNOWN),
        (Device(0.0, 0.0, 0.5), HOUR, Use.UNKNOWN),
        (Device(0.0, 0.0, 1.0), HOUR / 2, Use.UNKNOWN),
    ],
)
def test_a_device_is_idle_only_if_it_was_seen_to_do_nothing(device: Device, age: float, use: Use) -> None:
    assert use_of(device, age, HOUR) is use


def test_the_accelerators_of_a_pod_are_told_apart() -> None:
    found = cluster(NODES, [runs("web-1", 4), runs("web-2", 2, on="n1")])
    active: Numbers = {"web-1": [90, 0, 0, None], "web-2": [0, 0]}
    memory: Numbers = {"web-1": [70_000, 70_000, 3, 3], "web-2": [3, 3]}
    assert uses(found, measured(active, memory)) == Uses(
        busy=1000,
        unknown=1000,
        holds_memory=1000,
        idle=3000,
        memory_per_hour=Decimal("2.50"),
        idle_per_hour=Decimal("2.50"),
        idle_unpriced=2000,
    )


def test_a_pod_that_no_series_names_is_unknown() -> None:
    assert uses(cluster(NODES, [runs("web-1", 4)]), Answers()) == Uses(unknown=4000)


def test_a_series_of_an_earlier_pod_of_the_name_on_another_node_does_not_count() -> None:
    found = cluster(NODES, [runs("web-1")])
    elsewhere = Answers(
        (series(90.0, "web-1", Hostname="a2"), series(0.0, "web-1", "1", hostname="a1")),
        (series(3.0, "web-1", "1", hostname="a1"),),
        (series(12.0, "web-1", "1", hostname="a1"),),
    )
    assert uses(found, elsewhere).idle == 1000


def test_a_pod_that_has_replaced_another_of_its_name_is_not_idle_for_a_window_in_which_it_did_not_run() -> None:
    found = cluster(NODES, [runs("web-1", hours=0.1)])
    assert uses(found, measured({"web-1": [0]}, {"web-1": [0]})).unknown == 1000


def test_the_workload_is_named_by_exported_labels_where_the_scrape_names_the_exporter() -> None:
    found = cluster(NODES, [runs("web-1")])
    labels = {
        "namespace": "gpu-operator",
        "pod": "exporter-x",
        "exported_namespace": "default",
        "exported_pod": "web-1",
        "UUID": "GPU-1",
        "node": "a1",
    }
    (device,) = devices_by_pod(Answers((Series(labels, 3.0),)).measures(found))["uid-default-web-1"]
    assert device.active == 3.0


def test_a_device_that_is_scraped_twice_is_one_device() -> None:
    found = cluster(NODES, [runs("web-1")])
    twice = Answers(
        (series(0.0, "web-1", instance="10.0.0.1:9400"), series(40.0, "web-1", instance="10.0.0.2:9400")),
    )
    assert len(devices_by_pod(twice.measures(found))["uid-default-web-1"]) == 1
    assert uses(found, twice).busy == 1000


def test_of_more_devices_than_a_pod_holds_the_busiest_count() -> None:
    found = cluster(NODES, [runs("web-1")])
    assert uses(found, measured({"web-1": [0, 0, 55]}, {"web-1": [0, 0, 0]})) == Uses(busy=1000)


def test_an_impossible_value_is_no_sample() -> None:
    found = cluster(NODES, [runs("web-1")])
    assert uses(found, measured({"web-1": [65_535]}, {"web-1": [0]})) == Uses(unknown=1000)


def test_devices_of_two_kinds_can_not_be_told_apart() -> None:
    both = shape(1, more={"nvidia.com/mig-1g.10gb": 1})
    found = cluster(
        [node("a1", room={"nvidia.com/mig-1g.10gb": 2})], [held("web-1", shaped=both, on="a1", started=NOW - 9 * HOUR)]
    )
    assert uses(found, measured({"web-1": [0, 0]}, {"web-1": [0, 0]})) == Uses(unknown=2000)


def test_what_could_be_given_back_is_idle_or_free() -> None:
    found = cluster(NODES, [runs("web-1", 2), runs("web-2", 8, on="a2"), runs("other-1", 8, on="n1")])
    active: Numbers = {"web-1": [50, 0], "web-2": [0] * 8, "other-1": [80] * 8}
    memory: Numbers = {"web-1": [0, 0], "web-2": [0] * 8, "other-1": [0] * 8}
    waste = audited(found, answers=measured(active, memory), prices=AWS).waste
    assert waste is not None
    aws, nebius = waste.providers
    assert (aws.provider, aws.uses.idle, aws.free, aws.back, aws.empty_nodes) == ("aws", 9000, 6000, 15_000, 1)
    assert aws.back_per_hour == Decimal("37.50")
    assert (nebius.back, nebius.empty_nodes, nebius.back_per_hour) == (0, 0, Decimal(0))


def empty_nodes(found: Cluster, answers: Answers | None = None) -> dict[str, int]:
    waste = audited(found, answers=answers or Answers()).waste
    assert waste is not None
    return {one.provider: one.empty_nodes for one in waste.providers}


@pytest.mark.parametrize("bad", [{"ready": "False"}, {"cordoned": True}])
def test_only_nodes_that_work_can_be_given_back_whole(bad: dict[str, Any]) -> None:
    assert empty_nodes(cluster([node("a1", **bad), node("a2"), node("n1")])) == {"aws": 1, "nebius": 1}


def test_a_node_with_other_work_can_not_be_given_back_whole() -> None:
    database = held("db-1", 0, on="a1")
    agent = held("agent-1", 0, on="a2", kind="DaemonSet")
    promised = held("web-1", 8, nominated="n1")
    found = cluster([node("a1"), node("a2"), node("n1")], [database, agent, promised])
    assert empty_nodes(found) == {"aws": 1, "nebius": 0}


def test_a_node_whose_pods_are_all_idle_can_be_given_back_whole() -> None:
    found = cluster([node("a1", 2), node("a2", 2)], [runs("web-1", 2), runs("web-2", 2, on="a2")])
    idle: Numbers = {"web-1": [0, 0], "web-2": [0, 90]}
    assert empty_nodes(found, measured(idle, {"web-1": [0, 0], "web-2": [0, 0]})) == {"aws": 1}


def test_the_free_accelerators_of_a_node_that_does_not_work_can_not_be_used() -> None:
    waste = audited(cluster([node("a1", ready="False"), node("n1")]), answers=Answers()).waste
    assert waste is not None
    assert {one.provider: one.free for one in waste.providers} == {"aws": 0, "nebius": 8000}


# -- checks


def idle_check(found: Cluster, measures: Answers) -> Check | None:
    return check_of(audited(found, answers=measures), CheckName.IDLE_ACCELERATORS)


IDLE = measured({"web-1": [0, 0]}, {"web-1": [0, 0]})


def test_idle_accelerators_while_pods_wait_fail() -> None:
    nodes = [node("a1", 2), node("n1", 2)]
    found = cluster(nodes, [runs("web-1", 2), runs("b-1", 2, on="n1"), held("train-1", 8)])
    check = idle_check(found, IDLE)
    assert check is not None
    assert not check.passed
    assert check.message == (
        "2 accelerators that pods hold were idle for 60 min, and of 2 this is not known; pods wait for 8 and the loss "
        "of aws strands 2."
    )
    assert check.remedy.endswith("workloads that hold idle accelerators: default/deployment/web.")


def test_idle_accelerators_that_nobody_misses_pass() -> None:
    check = idle_check(cluster([node("a1", 2), node("n1", 8)], [runs("web-1", 2)]), IDLE)
    assert check is not None
    assert check.passed


def test_there_is_no_check_of_what_is_not_known() -> None:
    found = cluster([node("a1", 2)], [runs("web-1", 2), held("train-1", 8)])
    assert idle_check(found, Answers()) is None
    assert check_of(audited(found), CheckName.METRICS_READ) is None


@pytest.mark.parametrize(
    ("measures", "words"),
    [
        (Answers(), "has no metrics of NVIDIA's dcgm-exporter"),
        (Answers((series(3.0, "gone-1"),)), "1 series of devices, and none names a pod"),
        (Answers(problem="no connection"), "Metrics were not read: no connection."),
        (Answers(no_prices="a timeout"), "Metrics were not read: a timeout."),
    ],
)
def test_metrics_that_say_nothing_are_told(measures: Answers, words: str) -> None:
    found = audited(cluster(NODES, [runs("web-1")]), answers=measures)
    check = check_of(found, CheckName.METRICS_READ)
    assert check is not None
    assert not check.passed
    assert words in check.message
    assert (found.waste is None) == bool(measures.problem)


# -- what always holds

VALUES = st.one_of(st.none(), st.floats(0, 100), st.just(0.0))
MEMORY = st.one_of(st.none(), st.sampled_from([0.0, 500.0, 70_000.0]))


@st.composite
def pods_and_measures(draw: st.DrawFn) -> tuple[list[Pod], Answers]:
    pods, active, memory, seen = [], [], [], []
    for number in range(draw(st.integers(0, 5))):
        name = f"w{number % 2}-{number}"
        gpus = draw(st.integers(1, 4))
        pods.append(runs(name, gpus, draw(st.sampled_from(["a1", "a2", "n1"])), draw(st.sampled_from([0.1, 5]))))
        for device in range(draw(st.integers(0, 5))):
            active.append(series(draw(VALUES), name, str(device)))
            memory.append(series(draw(MEMORY), name, str(device)))
            seen.append(series(draw(st.sampled_from([None, 3.0, 12.0, 13.0])), name, str(device)))
    return pods, Answers(tuple(active), tuple(memory), tuple(seen))


@given(pods_and_measures())
def test_sums_add_up_and_no_series_means_unknown(case: tuple[list[Pod], Answers]) -> None:
    pods, measures = case
    found = audited(cluster(NODES, pods), answers=measures, prices=AWS)
    waste = found.waste
    assert waste is not None
    total = waste.uses
    requested = sum(amount for one in pods for name, amount in one.shape.requests if name == GPU)
    assert (total.held, total.held) == (requested, sum(one.accelerators for one in found.workloads))
    for part in ("busy", "unknown", "holds_memory", "idle", "idle_per_hour", "memory_per_hour", "idle_unpriced"):
        assert sum(getattr(one.uses, part) for one in waste.providers) == getattr(total, part)
    proven = sum(one.value is not None for one in measures.active)
    assert total.known <= 1000 * proven
    aws = next(one.uses for one in waste.providers if one.provider == "aws")
    assert total.idle_per_hour * 1000 == Decimal("2.50") * aws.idle
    fewer = audited(cluster(NODES, pods), answers=Answers(), prices=AWS).waste
    assert fewer is not None
    assert (fewer.uses.known, fewer.uses.idle_per_hour) == (0, Decimal(0))
