"""The labels of bound pods name the provider on which they run."""

import pytest

from computepool.decide.plan import LabelFix
from computepool.model.cluster import Pod
from computepool.model.taints import Toleration
from tests.builders import NOW, node, pod, pool, shape, snapshot
from tests.unit.core.passes import decided

NODES = [node("a1"), node("a2", ready="Unknown"), node("n1"), node("c1", cordoned=True), node("x1", of="elsewhere")]


def label_fixes(*pods: Pod) -> dict[str, str]:
    return {mark.pod.name: mark.provider for mark in decided(snapshot(pool(), NODES, pods)).label_fixes}


@pytest.mark.parametrize(
    ("one", "mark"),
    [
        (pod("p", on="n1", tolerates=["nebius"]), {"p": "nebius"}),
        (pod("p", on="c1", tolerates=["nebius", "crusoe"]), {"p": "crusoe"}),
        (pod("p", on="n1", shaped=shape(tolerations=[Toleration(operator="Exists")])), {"p": "nebius"}),
        (pod("p", on="n1", burst="crusoe", tolerates=["nebius"]), {"p": "nebius"}),
        (pod("p", on="n1"), {}),
        (pod("p", on="n1", tolerates=["crusoe"]), {}),
        (pod("p", on="n1", burst="crusoe", tolerates=["crusoe"]), {"p": ""}),
        (pod("p", on="a1", burst="nebius"), {"p": ""}),
        (pod("p", on="a2", burst="nebius"), {"p": ""}),
        (pod("p", on="a1"), {}),
        (pod("p", on="n1", burst="nebius"), {}),
        (pod("p", on="x1", burst="nebius"), {}),
        (pod("p", on="gone", burst="nebius"), {}),
        (pod("p", on="n1", deleting=NOW + 9), {}),
        (pod("p", burst="nebius"), {}),
        (pod("p", shaped=shape(0), on="n1"), {}),
    ],
    ids=[
        "on a standby without a label",
        "on a cordoned node",
        "on a standby with a toleration of everything",
        "on another standby than labelled",
        "on a standby without its taint",
        "on a standby without its taint, sent to another",
        "on a standby without its taint, labelled for another",
        "home after all",
        "home on a node that is not ready",
        "home as it should be",
        "on the standby it was sent to",
        "on a node of no provider",
        "on a node that is not there",
        "terminating",
        "not bound",
        "not the pool's",
    ],
)
def test_a_pod_is_marked_where_its_label_does_not_say_where_it_runs(one: Pod, mark: dict[str, str]) -> None:
    assert label_fixes(one) == mark


def test_only_those_pods_of_a_node_are_marked_that_need_it() -> None:
    right, wrong = pod("right", on="n1", burst="nebius"), pod("wrong", on="n1", tolerates=["nebius"])
    assert decided(snapshot(pool(), NODES, [right, wrong])).label_fixes == (LabelFix(wrong, "nebius"),)


def test_marks_wait_while_there_are_pods_to_send_on() -> None:
    full = pod("holder", 8, on="a1", burst="nebius")
    found = decided(snapshot(pool(), NODES, [full, pod("p")]))
    assert found.bursts
    assert not found.label_fixes
