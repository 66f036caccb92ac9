"""The status and the metrics count as pending only pods that a node could take now."""

from __future__ import annotations

from computepool.model.cluster import Pod
from computepool.report.metrics import Metrics
from computepool.report.status import status_of
from tests.builders import NOW, pod, shape, term
from tests.unit.report.passes import AT, FULL, RESIDENTS, report_on

KUEUE = "kueue.x-k8s.io/admission"
OTHERS: list[Pod] = [
    pod("queued-1", 2, gated=True, gates=(KUEUE,)),
    pod("queued-2", 2, gated=True, gates=("example.com/hold", KUEUE)),
    pod("agent", shaped=shape(1, affinity=[term(name="a1")]), owner="ds", owner_kind="DaemonSet"),
    pod("ending", 2, deleting=NOW + 5),
]


def test_gated_node_bound_and_terminating_pods_are_not_pending() -> None:
    report = report_on(nodes=FULL, pods=[*RESIDENTS, *OTHERS, pod("web", 3)])
    pending = status_of(report, report.snapshot.pool.status, AT).pending
    assert (pending.pods, pending.accelerators, pending.gated) == (1, 3, 2)


def test_the_status_names_the_gates_that_hold_pods_back() -> None:
    report = report_on(pods=[*RESIDENTS, *OTHERS])
    gates = status_of(report, report.snapshot.pool.status, AT).scheduling_gates
    assert [(gate.name, gate.pods) for gate in gates] == [("example.com/hold", 1), (KUEUE, 2)]


def test_of_many_gates_the_status_names_those_with_the_most_pods() -> None:
    pods = [pod(f"p{index}", gated=True, gates=(f"g{index % 20:02}", "held")) for index in range(30)]
    report = report_on(pods=[*RESIDENTS, *pods])
    gates = status_of(report, report.snapshot.pool.status, AT).scheduling_gates
    assert [gate.name for gate in gates] == [f"g{index:02}" for index in range(7)] + ["held"]


def test_a_gate_that_no_status_can_hold_is_left_out() -> None:
    report = report_on(pods=[*RESIDENTS, pod("p", gated=True, gates=("", "x" * 400))])
    assert status_of(report, report.snapshot.pool.status, AT).scheduling_gates == ()


def test_an_alert_on_pending_pods_is_silent_while_only_a_queue_waits() -> None:
    metrics = Metrics()
    metrics.passed(report_on(pods=[*RESIDENTS, *OTHERS]))
    lines = metrics.render().decode().splitlines()
    assert 'computepool_pending_pods{pool="inference"} 0.0' in lines
    assert 'computepool_gated_pods{pool="inference"} 2.0' in lines
