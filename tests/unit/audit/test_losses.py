"""What becomes of the pods when a part of the cluster is lost."""

from __future__ import annotations

import msgspec
import pytest

from computepool.audit.node_labels import REGION, ZONE
from computepool.audit.parts import UnknownPartError
from computepool.model.cluster import Node
from computepool.model.labels import Requirement
from computepool.model.quantity import MILLI
from computepool.model.reasons import Reason
from computepool.model.taints import Taint
from tests.builders import node, pod, pool, provider, shape, term
from tests.unit.audit.audited import audited, cluster, lost, owned

TEAM = Taint("example.com/team", "vision", "NoSchedule")


def _two(*more: Node) -> list[Node]:
    return [node("a1"), node("a2"), node("n1"), *more]


def test_pods_go_where_accelerators_are_free() -> None:
    found = lost(cluster(_two(), [owned("w1", 8, on="a1"), owned("w2", 4, on="a2"), owned("w3", 4, on="n1")]), "aws")
    assert (found.capacity, found.held, found.placed, found.stranded) == (16 * MILLI, 12 * MILLI, 4 * MILLI, 8 * MILLI)
    assert found.moves == {"nebius": 4 * MILLI}
    assert [(str(each.name), each.accelerators) for each in found.workloads] == [("default/replicaset/web", 8 * MILLI)]
    assert [remedy.text for remedy in found.remedies] == ["Add 1 node with 8 accelerators to nebius."]


def test_a_node_of_the_lost_provider_without_accelerators_is_no_place_to_add_nodes_to() -> None:
    nodes = _two(node("a3", 0))
    found = lost(cluster(nodes, [owned("w1", 8, on="a1"), owned("w2", 8, on="a2"), owned("w3", 8, on="n1")]), "aws")
    assert [remedy.text for remedy in found.remedies] == ["Add 2 nodes with 8 accelerators each to nebius."]
    # Nor is it where no other provider is left.
    alone = lost(cluster([node("a1"), node("a3", 0)], [owned("w1", 8, on="a1")]), "aws")
    assert not any("Add" in remedy.text for remedy in alone.remedies)


def test_the_higher_priority_gets_the_place() -> None:
    pods = [owned("low", 8, on="a1", by="low"), owned("high", 8, on="a2", by="high", priority=10)]
    found = lost(cluster(_two(), pods), "aws")
    assert [each.name.name for each in found.workloads] == ["low"]


def test_pods_that_wait_already_have_their_order() -> None:
    pods = [owned("w1", 8, on="a1", priority=0), owned("w2", 8, priority=10, by="first")]
    assert lost(cluster(_two(), pods), "aws").stranded == 8 * MILLI


def test_a_pod_without_a_controller_is_not_replaced() -> None:
    found = lost(cluster(_two(), [pod("bare", 1, on="a1")]), "aws")
    assert (found.stranded, list(found.workloads[0].reasons)) == (MILLI, ["NotMovable"])


def test_a_volume_keeps_a_pod_at_its_provider_and_not_on_its_node() -> None:
    pods = [owned("w1", 2, on="a1", shaped=shape(2, unmodelled=["volumes"]))]
    nodes = [node("a1", labels={"eks.amazonaws.com/nodegroup": "p5"}), node("a2"), node("n1")]
    found = cluster(nodes, pods)
    assert list(lost(found, "aws").workloads[0].reasons) == ["MayNotFollow"]
    assert lost(found, "node-group=aws/p5").moves == {"aws": 2 * MILLI}


def test_agents_and_pods_that_end_are_not_missed() -> None:
    pods = [owned("agent", 1, on="a1", kind="DaemonSet"), owned("ending", 1, on="a1", deleting=1.0)]
    assert lost(cluster(_two(), pods), "aws").held == 0


def test_a_pod_that_keeps_its_name_waits_for_the_deletion_of_its_node() -> None:
    named = owned("db-0", 2, on="a1", kind="StatefulSet", fixed_name=True)
    found = lost(cluster(_two(), [named]), "aws")
    assert (found.placed, found.awaits_deletion) == (2 * MILLI, 2 * MILLI)


@pytest.mark.parametrize("taints", [[], [TEAM]], ids=["untainted", "tainted"])
def test_a_taint_of_all_nodes_of_a_provider_is_no_obstacle(taints: list[Taint]) -> None:
    nodes = [node("a1"), node("n1", taints=taints)]
    assert lost(cluster(nodes, [owned("w1", 8, on="a1")]), "aws").stranded == 0


def test_a_taint_of_some_nodes_keeps_pods_off_these() -> None:
    nodes = [node("a1"), node("n1", 4), node("n2", 8, taints=[TEAM])]
    assert lost(cluster(nodes, [owned("w1", 8, on="a1")]), "aws").stranded == 8 * MILLI


def test_selectors_strand_a_pod() -> None:
    h100 = shape(1, affinity=[term(Requirement("gpu", "In", ("h100",)))])
    nodes = [node("a1", labels={"gpu": "h100"}), node("n1", labels={"gpu": "a100"})]
    found = lost(cluster(nodes, [owned("w1", on="a1", shaped=h100)]), "aws")
    assert found.workloads[0].rejected["nebius"] == "Pinned"


def test_two_providers_lost_together() -> None:
    nodes = [node("a1"), node("n1"), node("c1")]
    pods = [owned("w1", 8, on="a1", by="one"), owned("w2", 8, on="n1", by="two")]
    found = cluster(nodes, pods)
    assert (lost(found, "aws").stranded, lost(found, "nebius").stranded) == (0, 0)
    assert lost(found, "aws", "nebius").stranded == 8 * MILLI


def test_the_only_provider() -> None:
    found = audited(cluster([node("a1")], [owned("w1", 8, on="a1")]))
    assert found.losses[0].stranded == 8 * MILLI
    assert [check.name for check in found.checks if not check.passed][:2] == ["SecondProvider", "ProviderLoss"]


def test_no_accelerators_at_all() -> None:
    found = audited(cluster([]))
    assert (found.worst, found.supply, found.workloads) == (None, (), ())


def test_an_unknown_part_names_those_that_there_are() -> None:
    with pytest.raises(UnknownPartError, match="there is no such part; there is aws, nebius"):
        lost(cluster(_two()), "gcp")


# -- ComputePools of the cluster


def test_the_pools_of_the_cluster_judge_their_own_pods() -> None:
    limited = pool(provider("aws"), provider("nebius", max_accelerators=2))
    pods = [owned(f"w{index}", 1, on="a1", by=f"w{index}") for index in range(4)]
    found = lost(cluster(_two(), pods, pools=[limited]), "aws")
    assert (found.placed, found.stranded) == (2 * MILLI, 2 * MILLI)
    assert found.workloads[0].rejected["nebius"] == "AtMaxAccelerators"


def test_pools_share_the_free_places() -> None:
    chat = {"podSelector": {"matchLabels": {"app": "chat"}}}
    first = pool(provider("aws"), provider("nebius"), name="chat", workloads=chat)
    pods = [owned("w1", 6, on="a1", by="chat", labels={"app": "chat"}), owned("w2", 6, on="a2", by="batch")]
    found = lost(cluster(_two(), pods, pools=[first]), "aws")
    assert [each.name.name for each in found.workloads] == ["batch"]
    assert found.moves == {"nebius": 6 * MILLI}


def test_a_budget_strands_what_it_does_not_cover() -> None:
    tight = pool(provider("aws"), provider("nebius", price="2"), budget={"perHour": "4"})
    pods = [owned(f"w{index}", 1, on="a1", by=f"w{index}") for index in range(4)]
    found = lost(cluster(_two(), pods, pools=[tight]), "aws")
    assert found.stranded == 2 * MILLI
    assert [remedy.text for remedy in found.remedies] == ["Raise spec.budget for pods on nebius."]


def test_an_annotation_that_strands_is_to_be_loosened() -> None:
    found = lost(cluster(_two(), [owned("w1", 1, on="a1", allowed=())]), "aws")
    text = "To let the pod go to nebius, add this name to its annotation computepool.io/providers, or remove the "
    assert [remedy.text for remedy in found.remedies] == [f"{text}annotation."]


def test_a_taint_that_strands_is_to_be_tolerated() -> None:
    nodes, pools = [node("a1"), node("n1", taints=[TEAM])], [pool(provider("aws"), provider("nebius"))]
    found = lost(cluster(nodes, [owned("w1", 1, on="a1")], pools=pools), "aws")
    assert [remedy.text for remedy in found.remedies] == [
        "To let the pod go to nebius, add a toleration of example.com/team=vision:NoSchedule to the pod, or to the "
        "provider's tolerations in the pool."
    ]


def test_a_standby_that_has_failed_too_is_told_in_a_sentence() -> None:
    breaker = {"state": "Open", "reason": "ProviderUnhealthy", "since": "2027-01-15T07:00:00Z"}
    status = {"providers": [{"name": "nebius", "breaker": breaker}]}
    failed = pool(provider("aws"), provider("nebius"), status=status)
    found = lost(cluster(_two(), [owned("w1", 1, on="a1")], pools=[failed]), "aws")
    assert [remedy.text for remedy in found.remedies] == [Reason.PROVIDER_UNAVAILABLE.help]


def test_on_demand_capacity_is_told_apart() -> None:
    elastic = pool(provider("aws"), provider("nebius", on_demand=True))
    found = lost(cluster(_two(), [owned("w1", 8, on="a1"), owned("w2", 8, on="a2")], pools=[elastic]), "aws")
    assert (found.stranded, found.on_demand) == (0, {"nebius": 8 * MILLI})


def test_a_primary_on_demand_makes_nodes_in_place_of_those_that_are_lost() -> None:
    elastic = pool(provider("aws", on_demand=True), provider("nebius"))
    nodes = [node("a1", labels={"eks.amazonaws.com/nodegroup": "p5"}), node("a2"), node("n1")]
    pods = [owned("w1", 8, on="a1"), owned("w2", 8, on="a2")]
    found = lost(cluster(nodes, pods, pools=[elastic]), "node-group=aws/p5")
    assert (found.moves, found.on_demand) == ({"aws": 8 * MILLI}, {"aws": 8 * MILLI})


def test_a_pool_that_only_observes_is_judged_as_if_it_acted() -> None:
    watching = pool(provider("aws"), provider("nebius"), mode="Observe")
    assert lost(cluster(_two(), [owned("w1", 8, on="a1")], pools=[watching]), "aws").stranded == 0


def test_a_reserved_namespace_is_not_judged() -> None:
    pods = [owned("w1", 8, on="a1", namespace="kube-system")]
    assert lost(cluster(_two(), pods), "aws", reserved=("kube-system",)).held == 0


def test_more_providers_than_a_pool_has_room_for() -> None:
    names = [f"p{number}" for number in range(20)]
    nodes = [node(f"x{name}", 4, of=name, tainted=False) for name in names]
    pods = [owned(f"w{name}", 4, on=f"x{name}", by=name) for name in names[:18]]
    for name in names[:18]:
        found = lost(cluster(nodes, pods), name)
        assert (found.held, found.placed) == (4 * MILLI, 4 * MILLI), name
    assert lost(cluster(nodes, pods), *names[:3]).stranded == 4 * MILLI


def test_pods_of_a_pool_on_nodes_of_no_provider_of_it_are_missed_too() -> None:
    own = pool(provider("aws"), provider("nebius"))
    nodes = [node("a1"), node("n1"), node("c1", tainted=False)]
    found = lost(cluster(nodes, [owned("w1", 8, on="c1"), owned("w2", 8, on="a1")], pools=[own]), "crusoe")
    assert (found.held, found.moves) == (8 * MILLI, {"nebius": 8 * MILLI})


def test_the_first_loss_is_that_of_the_most_accelerators() -> None:
    nodes = [*(node(f"a{number}", 1) for number in range(5)), node("n1", 8)]
    assert audited(cluster(nodes, [owned("w1", 8, on="n1")])).losses[0].what == "nebius"


def test_a_region_of_two_providers_is_two_regions() -> None:
    east = {"topology.kubernetes.io/region": "us-east-1"}
    nodes = [node("a1", labels=east), node("n1", labels=east), node("c1", labels={REGION[0]: "eu"})]
    names = [str(part) for loss in audited(cluster(nodes)).losses for part in loss.parts]
    assert names[3:] == ["region=aws/us-east-1", "region=eu", "region=nebius/us-east-1"]


def test_a_volume_does_not_leave_its_zone() -> None:
    zones = [{ZONE[0]: zone, REGION[0]: zone[:-1]} for zone in ("us-east-1a", "eu-west-1a", "us-east-1b")]
    nodes = [node(f"a{number}", labels=labels) for number, labels in enumerate(zones)]
    bound = shape(8, unmodelled=["volumes"])
    found = lost(cluster([*nodes, node("n1")], [owned("w1", on="a0", shaped=bound)]), "region=us-east-1")
    assert list(found.workloads[0].reasons) == ["MayNotFollow"]


def test_pods_that_wait_already_leave_less_room_for_those_of_another_pool() -> None:
    chat = {"podSelector": {"matchLabels": {"app": "chat"}}}
    first = pool(provider("aws"), provider("nebius"), name="chat", workloads=chat)
    pods = [
        owned("c1", 8, by="chat", labels={"app": "chat"}, priority=10),
        owned("w1", 8, on="a1", by="batch"),
        owned("w2", 8, on="a2", by="other", labels={"app": "chat"}),
    ]
    assert lost(cluster(_two(), pods, pools=[first]), "aws").stranded == 16 * MILLI


def test_new_nodes_are_told_where_free_places_are_too_small_or_taken_by_pods_that_wait() -> None:
    elastic = pool(provider("aws"), provider("nebius", on_demand=True))
    small = [node("a1"), node("n1", 4), node("n2", 4)]
    found = lost(cluster(small, [owned("w1", 8, on="a1")], pools=[elastic]), "aws")
    assert found.on_demand == {"nebius": 8 * MILLI}


def test_the_nodes_to_add_are_of_the_kind_that_the_pods_ask_for() -> None:
    model = "nvidia.com/gpu.product"
    nodes = [
        node("a1", 4, labels={model: "H100"}),
        *(node(f"n{number}", 8, labels={model: "A100"}) for number in range(3)),
        node("n9", 4, labels={model: "H100"}, cordoned=True),
    ]
    pods = [owned("w1", 4, on="a1", shaped=shape(4, selector={model: "H100"}))]
    (remedy,) = lost(cluster(nodes, pods), "aws").remedies
    assert remedy.text == (
        "Add 1 node with 4 accelerators (H100) to nebius, or first bring back 1 node there that no pod can use now."
    )


def test_a_pool_is_older_than_the_pool_over_all_whatever_the_date_of_the_file() -> None:
    limited = pool(provider("aws"), provider("nebius", max_accelerators=2))
    pods = [owned(f"w{index}", 1, on="a1", by=f"w{index}") for index in range(4)]
    found = msgspec.structs.replace(cluster(_two(), pods, pools=[limited]), now=0.0)
    assert lost(found, "aws").stranded == 2 * MILLI
