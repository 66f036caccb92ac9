"""What an audit finds of supply, providers, demand, parts and checks."""

from __future__ import annotations

import msgspec
import pytest

from computepool.audit.cluster import Owner
from computepool.audit.node_labels import Place, place_of
from computepool.audit.parts import MOST_OF_A_KIND
from computepool.audit.pins import Pin
from computepool.audit.providers import find_providers
from computepool.audit.supply import Concentration
from computepool.model.cluster import Shape
from computepool.model.labels import Requirement, Selector
from computepool.model.quantity import MILLI
from computepool.model.taints import Taint
from tests.builders import NOW, node, pod, pool, provider, shape, term
from tests.unit.audit.audited import audited, budget, cluster, owned, unlabelled

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
    bare = unlabelled("x1", labels)
    found = cluster([bare], ids={"x1": provider_id})
    assert [each.name for each in find_providers(found.nodes, {}, ())] == [name]


def test_what_the_user_says_comes_first_and_then_the_pools() -> None:
    nodes = [node("a1"), node("n1"), node("n2", labels={"rack": "7"})]
    given = {"lab": Selector((Requirement("rack", "In", ("7",)),))}
    known = pool(provider("home", labels={"computepool.io/provider": "aws"}), provider("nebius"))
    found = find_providers(cluster(nodes).nodes, given, [known])
    assert [(each.name, each.nodes) for each in found] == [("home", ("a1",)), ("lab", ("n2",)), ("nebius", ("n1",))]


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


# -- names that are taken


def test_a_provider_may_have_a_name_that_an_audit_would_make() -> None:
    one = cluster([unlabelled("x1", {"rack": "7"})], [owned("w1", 8, on="x1")])
    given = {"a-second-provider": Selector((Requirement("rack", "Exists"),))}
    assert audited(one, providers=given).losses[0].stranded == 8 * MILLI
    ids = {f"x{number}": f"p{number:02}://x" for number in range(20)} | {"x20": "others://x"}
    many = [unlabelled(f"x{number}", {}) for number in range(20)]
    largest = msgspec.structs.replace(node("x20", 16), labels={}, taints=())
    assert audited(cluster([*many, largest], [owned("w1", 8, on="x0")], ids=ids), lose=("p00",)).losses[0].stranded == 0


# -- parts


def test_a_part_that_is_not_among_the_largest_may_be_lost() -> None:
    nodes = [unlabelled(f"x{number:02}", {}) for number in range(MOST_OF_A_KIND + 1)]
    found = cluster(nodes, ids={each.name: f"p{each.name[1:]}://x" for each in nodes})
    assert len(audited(found).losses) == MOST_OF_A_KIND
    last = f"p{MOST_OF_A_KIND}"
    assert [str(part) for part in audited(found, lose=(last, f"provider={last}", last)).losses[0].parts] == [last]
