"""The pools that an audit suggests, and the commands before them."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
import yaml

from computepool.audit.pools import shared_taints
from computepool.audit.prices import PriceRule
from computepool.audit.suggestion import NoSuggestionError, Suggestion, suggest
from computepool.model.api import ComputePool
from computepool.model.labels import Requirement, Selector
from computepool.model.taints import Taint
from tests.builders import GPU, node, pool, provider, shape
from tests.unit.audit.audited import audited, cluster, owned, unlabelled

P5 = {"eks.amazonaws.com/nodegroup": "p5"}


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


@pytest.mark.parametrize(
    "key", ["virtual-node.liqo.io/not-allowed", "virtual-kubelet.io/provider"], ids=["liqo", "virtual-kubelet"]
)
def test_a_taint_of_the_provider_itself_is_its_own(key: str) -> None:
    nodes = [node("a1"), node("n1", taints=[Taint(key, "true", "NoExecute")], tainted=False)]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")])))
    assert made.taints == ()
    assert _tolerated(made) == [key]


def test_two_standbys_with_the_same_taint_get_a_taint_each() -> None:
    remote = Taint("virtual-node.liqo.io/not-allowed", "true", "NoExecute")
    nodes = [node("a1"), *(node(name, taints=[remote], tainted=False) for name in ("c1", "n1"))]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")])))
    assert len(made.taints) == 2
    assert _tolerated(made) == ["computepool.io/provider", remote.key]


def test_a_lasting_taint_of_others_is_tolerated_beside_the_providers_own() -> None:
    team = Taint("example.com/team", "vision", "NoSchedule")
    nodes = [node("a1"), node("n1", taints=[team], tainted=False)]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")])))
    own = "computepool.io/provider=nebius"
    assert made.taints == (f"kubectl taint nodes --selector='{own}' {own}:NoSchedule",)
    assert _tolerated(made) == ["computepool.io/provider", team.key]


@pytest.mark.parametrize(
    "key",
    [
        "ToBeDeletedByClusterAutoscaler",
        "karpenter.sh/disrupted",
        "aws-node-termination-handler/spot-itn",
        "node.cilium.io/agent-not-ready",
        "readiness.k8s.io/nvidia-driver",
        "startup-taint.cluster-autoscaler.kubernetes.io/driver",
        "maintenance",
        "example.com/GPU-NotReady",
    ],
)
def test_a_taint_that_passes_is_tolerated_neither_by_a_pool_nor_by_the_judgement(key: str) -> None:
    nodes = [node("a1"), node("n1", taints=[Taint(key, "true", "NoSchedule")], tainted=False)]
    found = audited(cluster(nodes, [owned("w1", 8, on="a1")]))
    made = suggest(found)
    assert len(made.taints) == 1
    assert _tolerated(made) == []
    assert f"carry {key}:NoSchedule now. Pods do not tolerate it" in made.manifest
    assert shared_taints([nodes[1]]) == ()


def test_only_nodes_that_lack_the_taint_get_it() -> None:
    nodes = [node("a1"), node("n1"), node("n2", tainted=False)]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")])))
    assert made.taints == ("kubectl taint nodes n2 computepool.io/provider=nebius:NoSchedule",)


def test_no_node_without_the_accelerator_is_tainted() -> None:
    region = {"topology.kubernetes.io/region": "eu"}
    group = {"eks.amazonaws.com/nodegroup": "gpu", **region}
    bare = {"a1": {"topology.kubernetes.io/region": "us"}, "n1": region, "n2": region}
    nodes = [unlabelled(name, bare[name]) for name in ("a1", "n1", "n2")]
    cpu = msgspec.structs.replace(node("cpu", 0), labels=region, taints=())
    ids = {"a1": "aws:///a1", "n1": "nebius://n1", "n2": "nebius://n2", "cpu": "nebius://cpu"}
    made = suggest(audited(cluster([*nodes, cpu], [owned("w1", 8, on="a1")], ids=ids)))
    # The region selects the nodes, also new ones. It would taint the node without accelerators too.
    assert (made.labels, made.taints) == ((), ("kubectl taint nodes n1 n2 computepool.io/provider=nebius:NoSchedule",))
    # A label of the nodes with accelerators alone is better than that.
    nodes[1:] = [msgspec.structs.replace(each, labels=group) for each in nodes[1:]]
    made = suggest(audited(cluster([*nodes, cpu], [owned("w1", 8, on="a1")], ids=ids)))
    chosen = "eks.amazonaws.com/nodegroup=gpu"
    assert made.taints == (f"kubectl taint nodes --selector='{chosen}' computepool.io/provider=nebius:NoSchedule",)


def test_a_label_that_a_node_of_another_provider_has_selects_nothing() -> None:
    shared = {"topology.kubernetes.io/region": "eu"}
    cpu = msgspec.structs.replace(node("cpu", 0), labels=shared, taints=())
    nodes = [unlabelled("a1", {}), unlabelled("n1", shared), cpu]
    ids = {"a1": "aws:///a1", "n1": "nebius://n1", "cpu": "aws://cpu"}
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")], ids=ids)))
    assert "kubectl label nodes n1 computepool.io/provider=nebius" in made.labels
    assert made.taints == (
        "kubectl taint nodes --selector='computepool.io/provider=nebius' computepool.io/provider=nebius:NoSchedule",
    )


def test_labels_that_do_not_last_select_no_nodes() -> None:
    odd = {"feature.node.kubernetes.io/kernel-version.full": "5.15.0-113", "app": "m"}
    nodes = [unlabelled("a1", P5), unlabelled("n1", odd)]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")], ids={"a1": "aws:///a1", "n1": "nebius://n1"})))
    assert made.labels == ("kubectl label nodes n1 computepool.io/provider=nebius",)


def test_the_users_own_labels_select_the_nodes() -> None:
    nodes = [unlabelled("a1", P5), unlabelled("n1", {"rack": "7"}), unlabelled("n2", {"rack": "8"})]
    given = {"lab": Selector((Requirement("rack", "Exists"),))}
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")], ids={"a1": "aws:///a1"}), providers=given))
    assert made.labels == ()
    assert "--selector='rack in (7, 8)'" in made.taints[0]


def test_nodes_that_no_label_tells_apart_are_labelled_first() -> None:
    nodes = [unlabelled("x1", {"kubernetes.io/hostname": "x1"}), unlabelled("x2", {"kubernetes.io/hostname": "x2"})]
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


def test_the_primary_of_one_pool_is_not_tainted_as_the_standby_of_another() -> None:
    other = "amd.com/gpu"
    nodes = [node("a1", room={other: 4}), node("n1", room={other: 4}, tainted=False)]
    pods = [owned("w1", 8, on="a1"), owned("w2", 4, shaped=shape(4, resource=other), on="n1")]
    made = suggest(audited(cluster(nodes, pods)))
    assert [each.spec.primary.name for each in _suggested(str(made))] == ["aws", "nebius"]
    assert made.taints == ()
    assert "some belong to the primary of the pool amd-gpu" in made.manifest


def test_the_primary_of_a_pool_of_the_cluster_is_not_tainted() -> None:
    there = pool(provider("nebius"), provider("crusoe"), name="training", resource="amd.com/gpu")
    nodes = [node("a1"), node("n1", tainted=False)]
    made = suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")], pools=[there])))
    assert made.taints == ()
    assert "the primary of the pool training" in made.manifest


def test_a_suggested_pool_replaces_no_pool_of_the_cluster() -> None:
    there = pool(provider("aws"), provider("nebius"), name="nvidia-gpu")
    made = suggest(audited(cluster([node("a1"), node("n1")], [owned("w1", 8, on="a1")], pools=[there])))
    assert [each.name for each in _suggested(str(made))] == ["nvidia-gpu-2"]
    assert "There is a pool for nvidia.com/gpu already: nvidia-gpu." in made.manifest
    assert "computepool diff" in made.manifest


@pytest.mark.parametrize("name", ["123", "on", "null", "1e3", "2026-01-01"])
def test_a_name_that_yaml_reads_as_another_value_is_written_as_text(name: str) -> None:
    nodes = [node("a1"), node("n1", labels={"computepool.io/provider": name})]
    (suggested,) = _suggested(str(suggest(audited(cluster(nodes, [owned("w1", 8, on="a1")])))))
    assert [each.name for each in suggested.spec.providers] == ["aws", name]


def test_a_path_with_a_line_end_stays_in_its_comment() -> None:
    found = audited(cluster([node("a1"), node("n1")], [owned("w1", on="a1")], source="x\nspec: {}.json"))
    (suggested,) = _suggested(str(suggest(found)))
    assert len(suggested.spec.providers) == 2


def _tolerated(made: Suggestion) -> list[str]:
    """The taints that the first pool's second provider tolerates, by key; none if it has the default toleration."""
    return [each.key for each in _suggested(str(made))[0].spec.providers[1].tolerations]


def _suggested(text: str) -> list[ComputePool]:
    return [ComputePool.from_object(document) for document in yaml.safe_load_all(text)]
