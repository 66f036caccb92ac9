"""The price of an accelerator: the user's most exact one, else the pool's, else OpenCost's, else none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from computepool.audit.activity import prices_by_node
from computepool.audit.cluster import Cluster
from computepool.audit.prices import Price, PriceRule, PriceSource, Pricing
from computepool.prometheus.answers import Series
from tests.builders import GPU, node, pool, provider
from tests.unit.audit.audited import cluster
from tests.unit.audit.money_cases import H100, MODEL, SPOT_LABEL

SLICE = "nvidia.com/mig-1g.10gb"
SHARED = {"nvidia.com/gpu.replicas": "4"}


def rule(price: str, **how: str) -> PriceRule:
    return PriceRule("aws", Decimal(price), **how)


def price_of(found: Cluster, *rules: PriceRule, resource: str = GPU, measured: str = "") -> Price | None:
    by_node = {"a1": Decimal(measured)} if measured else {}
    return Pricing(found, {"a1": "aws"}, rules, by_node).price("a1", resource)


def given(price: str) -> Price:
    return Price(Decimal(price), PriceSource.GIVEN)


SPOT_H100 = cluster([node("a1", labels={**H100, SPOT_LABEL: "spot"})])


def test_the_price_that_says_most_holds() -> None:
    rules = [rule("1"), rule("2", capacity_type="spot"), rule("3", model="H100"), rule("4", model="H100-80GB")]
    found = []
    while rules:
        found.append(price_of(SPOT_H100, *rules))
        rules.pop()
    assert found == [given("4"), given("3"), given("2"), given("1")]
    by_type = [rule("3", model="H100"), rule("5", model="H100", capacity_type="spot")]
    assert price_of(SPOT_H100, *by_type) == given("5")


@pytest.mark.parametrize(
    ("model", "key", "applies"),
    [
        ("NVIDIA-A100-SXM4-80GB", "A100", True),
        ("NVIDIA-A100-SXM4-80GB", "a100-80gb", True),
        ("NVIDIA-A100-SXM4-80GB", "A10", False),
        ("NVIDIA-L40S", "L40", False),
        ("p5.48xlarge", "p5", True),
        ("", "H100", False),
    ],
)
def test_a_model_is_compared_by_its_words(model: str, key: str, applies: bool) -> None:
    found = cluster([node("a1", labels={MODEL: model})])
    assert (price_of(found, rule("1", model=key)) is not None) == applies


def test_a_price_of_another_capacity_type_or_provider_does_not_apply() -> None:
    assert price_of(SPOT_H100, rule("2", capacity_type="on-demand")) is None
    assert price_of(SPOT_H100, PriceRule("nebius", Decimal(2))) is None


def test_a_part_of_a_device_has_only_a_price_of_its_own() -> None:
    found = cluster([node("a1", labels={**H100, **SHARED}, room={SLICE: 7})])
    whole = (rule("7"), rule("8", model="H100"))
    assert (price_of(found, *whole, measured="9"), price_of(found, *whole, resource=SLICE)) == (None, None)
    assert price_of(found, *whole, rule("1.75", resource=SLICE), resource=SLICE) == given("1.75")
    assert price_of(found, *whole, rule("2", resource=GPU)) == given("2")


def test_prices_of_the_user_come_before_prices_of_pools_and_these_before_opencosts() -> None:
    priced = pool(provider("aws", price="12.29"), provider("nebius"))
    found = cluster([node("a1")], pools=[priced])
    assert price_of(found, rule("1"), measured="3") == given("1")
    assert price_of(found, measured="3") == Price(Decimal("12.29"), PriceSource.POOL)
    assert price_of(cluster([node("a1")]), measured="3") == Price(Decimal(3), PriceSource.OPENCOST)
    assert price_of(cluster([node("a1")])) is None


def test_a_pools_price_is_that_of_its_accelerator() -> None:
    priced = pool(provider("aws", price="12.29"), provider("nebius"), accelerator={"resourceName": "amd.com/gpu"})
    assert price_of(cluster([node("a1")], pools=[priced])) is None


def test_a_node_that_is_gone_has_no_price() -> None:
    assert Pricing(cluster([]), {}, (rule("1"),)).price("a1", GPU) is None


def test_opencost_names_nodes_by_several_labels_and_says_zero_where_it_knows_nothing() -> None:
    found = cluster([node("a1"), node("a2"), node("a3"), node("a4")])
    answer = [
        Series({"node": "a1", "instance": "a1"}, 2.5),
        Series({"instance": "10.0.0.1:9003", "exported_instance": "a2"}, 0.1),
        Series({"node": "a3"}, 0.0),
        Series({"node": "a4"}, None),
        Series({"node": "elsewhere"}, 4.0),
    ]
    assert prices_by_node(found, answer) == {"a1": Decimal("2.5"), "a2": Decimal("0.1")}
