"""Which pool a pod belongs to."""

from collections.abc import Mapping
from typing import Any

from computepool.assess.demand.pool_of_pod import claim, claimants
from computepool.model.api import ComputePool
from computepool.model.cluster import Pod
from tests.builders import NOW, pod, pool, shape

SEEN = {"default": {"kubernetes.io/metadata.name": "default", "team": "ml"}}


def claims(one: Pod, *pools: ComputePool, namespaces: Mapping[str, Mapping[str, str]] = SEEN) -> tuple[str, ...]:
    return claim(one, claimants(pools), namespaces)


def of(name: str, age: float = 1000.0, **workloads: Any) -> ComputePool:
    return pool(name=name, created=NOW - age, workloads=workloads)


def test_a_pool_without_selectors_claims_every_pod_that_requests_its_accelerator() -> None:
    assert claims(pod("a"), of("p")) == ("p",)


def test_a_pod_without_the_accelerator_belongs_to_no_pool() -> None:
    assert claims(pod("a", 0), of("p")) == ()
    assert claims(pod("a", shaped=shape(2, resource="amd.com/gpu")), of("p")) == ()


def test_pods_are_claimed_by_their_own_labels_and_their_namespaces() -> None:
    mine = of("p", podSelector={"matchLabels": {"app": "web"}}, namespaceSelector={"matchLabels": {"team": "ml"}})
    assert claims(pod("a", labels={"app": "web"}), mine) == ("p",)
    assert claims(pod("a", labels={"app": "db"}), mine) == ()
    assert claims(pod("a", labels={"app": "web"}, namespace="other"), mine, namespaces={"other": {}}) == ()


def test_the_older_of_two_pools_keeps_the_pod_and_both_are_returned() -> None:
    assert claims(pod("a"), of("young", age=10), of("old", age=20)) == ("old", "young")


def test_pools_of_the_same_age_are_ordered_by_name() -> None:
    assert claims(pod("a"), of("b"), of("a")) == ("a", "b")


def test_ages_are_compared_as_times_whatever_their_fractions() -> None:
    assert claims(pod("a"), of("half", age=9.5), of("whole", age=10), of("late", age=9)) == ("whole", "half", "late")


def test_of_an_unseen_namespace_the_name_is_known() -> None:
    by_name: dict[str, Any] = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
    others = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}]}
    assert claims(pod("a"), of("p", **by_name), namespaces={}) == ("p",)
    assert claims(pod("a"), of("p", namespaceSelector=others), namespaces={}) == ()
    assert claims(pod("a"), of("p"), namespaces={}) == ("p",)


def test_a_pod_belongs_to_no_pool_while_labels_of_its_namespace_that_matter_are_unseen() -> None:
    unrestricted = {"matchExpressions": [{"key": "restricted", "operator": "DoesNotExist"}]}
    assert claims(pod("a"), of("p", namespaceSelector=unrestricted), namespaces={}) == ()


def test_a_younger_pool_does_not_get_a_pod_that_an_older_one_may_still_claim() -> None:
    old = of("old", age=20, namespaceSelector={"matchLabels": {"team": "ml"}})
    young = of("young", age=10)
    assert claims(pod("a"), old, young, namespaces={}) == ()
    assert claims(pod("a"), old, young) == ("old", "young")
    assert claims(pod("a"), old, young, namespaces={"default": {}}) == ("young",)


def test_an_older_pool_keeps_its_pod_whatever_a_younger_one_may_claim() -> None:
    young = of("young", age=10, namespaceSelector={"matchLabels": {"team": "ml"}})
    assert claims(pod("a"), of("old", age=20), young, namespaces={}) == ("old",)
