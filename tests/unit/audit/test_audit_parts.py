"""What an audit finds of supply, providers, demand and checks, and what it suggests."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
import yaml

from computepool.audit.cluster import Owner
from computepool.audit.node_labels import Place, place_of
from computepool.audit.pins import Pin
from computepool.audit.prices import PriceRule
from computepool.audit.providers import find_providers
from computepool.audit.suggestion import NoSuggestionError, suggest
from computepool.audit.supply import Concentration
from computepool.model.api import ComputePool
from computepool.model.cluster import Node, Shape
from computepool.model.labels import Requirement, Selector
from computepool.model.quantity import MILLI
from computepool.model.taints import Taint
from tests.builders import GPU, NOW, node, pod, pool, provider, shape, term
from tests.unit.audit.audited import audited, budget, cluster, owned

P5 = {"eks.amazonaws.com/nodegroup": "p5"}


# -- places and providers


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({}, Place()),
        (
            {
                "topology.kubernetes.io/region": "us-east-1",
                "topology.kubernetes.io/zone": "us-east-1a",
                "eks.amazonaws.com/nodegroup": "p5",
                "eks.amazonaws.com/capacityType": "SPOT",
                "nvidia.com/gpu.product": "H100",
                "node.kubernetes.io/instance-type": "p5.48xlarge",
            },
            Place("us-east-1", "us-east-1a", "p5", "spot", "H100"),
        ),
        ({"cloud.google.com/gke-spot": "true", "cloud.google.com/gke-nodepool": "a3"}, Place("", "", "a3", "spot", "")),
        ({"karpenter.sh/capacity-type": "reserved"}, Place(capacity_type="reserved")),
        ({"karpenter.sh/capacity-type": "something-new"}, Place()),
    ],
)
def test_where_a_node_is(labels: dict[str, str], place: Place) -> None:
    assert place_of(labels) == place


@pytest.mark.parametrize(
    ("provider_id", "labels", "name"),
    [
        ("aws:///us-east-1a/i-1", {}, "aws"),
        ("gce://project/zone/vm", {}, "gcp"),
        ("ocid1.instance.oc1.iad.x", {}, "oci"),
        ("nebius://computeinstance-1", {}, "nebius"),
        ("eks-hybrid:///us-west-2/cluster/mi-1", {}, "eks-hybrid"),
        ("", {"liqo.io/remote-cluster-id": "Rome_1"}, "liqo-rome-1"),
        ("", {"type": "virtual-kubelet"}, "virtual-kubelet"),
        ("", {}, "self-managed"),
        ("aws:///x", {"computepool.io/provider": "neo"}, "neo"),
    ],
)
def test_nodes_tell_their_provider(provider_id: str, labels: dict[str, str], name: str) -> None:
    bare = _unlabelled("x1", labels)
    found = cluster([bare], ids={"x1": provider_id})
    assert [each.name for each in find_providers(found.nodes, {}, ())] == [name]


def test_what_the_user_says_comes_first_and_then_the_pools() -> None:
    nodes = [node("a1"), node("n1"), node("n2", labels={"rack": "7"})]
    given = {"lab": Selector((Requirement("rack", "In", ("7",)),))}
    known = pool(provider("home", labels={"computepool.io/provider": "aws"}), provider("nebius"))
    found = find_providers(cluster(nodes).nodes, given, [known])
    assert [(each.name, each.nodes) for each in found] == [("home", ("a1",)), ("lab", ("n2",)), ("nebius", ("n1",))]


def _unlabelled(name: str, labels: dict[str, str]) -> Node:
    return msgspec.structs.replace(node(name), labels=labels, taints=())


# -- supply


def test_supply_and_concentration() -> None:
    spot = {"karpenter.sh/capacity-type": "spot", "topology.kubernetes.io/region": "eu"}
    nodes = [node("a1"), node("a2", ready="False"), node("n1", 4, labels=spot), node("c1", 4, cordoned=True)]
    found = audited(cluster(nodes, [owned("w1", 6, on="a1"), owned("w2", 2, on="a2")]))
    rows = {row.provider: row for row in found.supply}
    assert (rows["aws"].capacity, rows["aws"].used, rows["aws"].free, rows["aws"].unhealthy) == (
        16 * MILLI,
        8 * MILLI,
        2 * MILLI,
        8 * MILLI,
    )
    assert rows["crusoe"].free == 0
    assert found.largest_provider == Concentration("aws", 16 / 24)
    assert found.spot == Concentration("spot", 4 / 24)
    failed = {str(check.name) for check in found.checks if not check.passed}
    assert "HealthyNodes" in failed


def test_other_devices_are_no_accelerators() -> None:
    nodes = [node("a1", 0, room={"rdma/hca": 8})]
    assert audited(cluster(nodes)).supply == ()
    assert audited(cluster(nodes), resources=("rdma/hca",)).supply[0].capacity == 8 * MILLI


@pytest.mark.parametrize(
    ("requests", "counted"), [((), "neuron"), (("neuroncore",), "neuroncore"), (("neuron",), "neuron")]
)
def test_devices_that_are_reported_under_several_names_count_once(requests: tuple[str, ...], counted: str) -> None:
    names = {
        f"aws.amazon.com/{name}": amount for name, amount in (("neuron", 16), ("neurondevice", 16), ("neuroncore", 32))
    }
    pods = [owned("w1", on="a1", shaped=shape(1, resource=f"aws.amazon.com/{name}")) for name in requests]
    found = audited(cluster([node("a1", 0, room=names)], pods))
    assert [row.resource for row in found.supply] == [f"aws.amazon.com/{counted}"]


# -- demand


def test_pods_belong_to_their_topmost_owner() -> None:
    chain = {"uid-web": Owner("Deployment", "chat", "apps/v1", "uid-chat"), "uid-loop": Owner("A", "a", "", "uid-loop")}
    pods = [owned("w1", on="a1"), owned("w2", on="a1"), owned("x1", on="a1", by="loop"), pod("bare", on="a1")]
    found = audited(cluster([node("a1")], pods, owners=chain))
    assert [(str(each.name), each.pods) for each in found.workloads] == [
        ("default/deployment/chat", 2),
        ("default/a/a", 1),
        ("default/pod/bare", 1),
    ]


def test_all_that_pins_a_workload_the_most_binding_first() -> None:
    h100 = shape(1, selector={"nvidia.com/gpu.product": "H100"}, unmodelled=["volumes", "podAntiAffinity"])
    nodes = [node("a1", labels={"nvidia.com/gpu.product": "H100"}), node("n1")]
    pods = [owned("w1", on="a1", shaped=h100, labels={"app": "w"}, protected_until=NOW + 60.0, gang=True)]
    (found,) = audited(cluster(nodes, pods, budgets=[budget("web", 0, app="w")])).workloads
    assert found.pins == (
        Pin.VOLUME,
        Pin.MODEL,
        Pin.NO_DISRUPTION_ALLOWED,
        Pin.DO_NOT_DISRUPT,
        Pin.GANG,
        Pin.PLACED_BY_OTHERS,
    )
    assert (found.pinned_by, found.budgets) == (("nvidia.com/gpu.product=H100",), {"web": 0})


@pytest.mark.parametrize(
    ("shaped", "pin"),
    [
        (shape(1, selector={"kubernetes.io/arch": "arm64"}), Pin.ARCHITECTURE),
        (shape(1, selector={"cloud": "aws"}), Pin.NODE_SELECTOR),
        (shape(1, affinity=[term(Requirement("cloud", "In", ("aws",)))]), Pin.NODE_AFFINITY),
        (shape(8), Pin.TOO_LARGE),
    ],
)
def test_what_no_node_of_another_provider_satisfies(shaped: Shape, pin: Pin) -> None:
    nodes = [node("a1", labels={"kubernetes.io/arch": "arm64", "cloud": "aws"}), node("n1", 4)]
    (found,) = audited(cluster(nodes, [owned("w1", on="a1", shaped=shaped)])).workloads
    assert found.pins == (pin,)


def test_a_taint_that_is_not_the_providers_own_pins() -> None:
    team = Taint("example.com/team", "vision", "NoSchedule")
    nodes = [node("a1"), node("n1", taints=[team]), node("n2", 0)]
    (found,) = audited(cluster([*nodes, node("n3", 1)], [owned("w1", 8, on="a1")])).workloads
    assert found.pins == (Pin.TOO_LARGE,)


def test_the_budget_of_another_namespace_pins_nobody() -> None:
    pods = [owned("w1", on="a1", namespace="other", labels={"app": "w"})]
    (found,) = audited(cluster([node("a1"), node("n1")], pods, budgets=[budget("web", 0, app="w")])).workloads
    assert (found.pins, found.budgets) == ((), {})


# -- the suggestion


def _suggested(text: str) -> list[ComputePool]:
    return [ComputePool.from_object(document) for document in yaml.safe_load_all(text)]


def test_a_pool_that_fits_the_cluster() -> None:
    nodes = [node("a1", labels=P5), node("a2", labels=P5), node("n1"), node("c1", tainted=False)]
    found = audited(cluster(nodes, [owned("w1", 8, on="a1")]), prices=(PriceRule("nebius", Decimal("2.95")),))
    made = suggest(found)
    (suggested,) = _suggested(str(made))
    assert (suggested.name, str(suggested.spec.mode)) == ("nvidia-gpu", "Observe")
    assert [each.name for each in suggested.spec.providers] == ["aws", "crusoe", "nebius"]
    assert made.labels == ()
    crusoe = "computepool.io/provider=crusoe"
    assert made.taints == (f"kubectl taint nodes --selector='{crusoe}' {crusoe}:NoSchedule",)
    assert [str(each.price()) for each in suggested.spec.providers] == ["None", "None", "2.95"]
    for each in suggested.spec.providers:
        own = {
            found.node.name for found in found.cluster.nodes if each.node_selector.compiled().matches(found.node.labels)
        }
        assert own == {name for name in ("a1", "a2", "n1", "c1") if name[0] == each.name[0]}


def test_a_taint_that_the_nodes_have_is_tolerated() -> None:
    remote = Taint("virtual-node.liqo.io/not-allowed", "true", "NoExecute")
    nodes = [node("a1"), node("n1", taints=[remote], tainted=False)]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")])))
    (suggested,) = _suggested(str(made))
    assert made.taints == ()
    assert [each.key for each in suggested.spec.providers[1].tolerations] == [remote.key]


def test_nodes_that_no_label_tells_apart_are_labelled_first() -> None:
    nodes = [_unlabelled("x1", {"kubernetes.io/hostname": "x1"}), _unlabelled("x2", {"kubernetes.io/hostname": "x2"})]
    made = suggest(audited(cluster(nodes, [owned("w1", on="x1")], ids={"x1": "aws:///i-1"})))
    assert made.labels == (
        "kubectl label nodes x1 computepool.io/provider=aws",
        "kubectl label nodes x2 computepool.io/provider=self-managed",
    )


def test_one_provider_is_not_enough_for_a_pool() -> None:
    with pytest.raises(NoSuggestionError, match=r"needs two providers .* there is aws"):
        suggest(audited(cluster([node("a1")])))


def test_a_pool_for_each_accelerator() -> None:
    other = "amd.com/gpu"
    nodes = [node("a1"), node("n1"), node("c1", 0, room={other: 8}), node("n2", 0, room={other: 4})]
    made = suggest(audited(cluster(nodes)))
    assert [each.spec.accelerator.resource_name for each in _suggested(str(made))] == [GPU, other]
