"""The cost of accelerators for an hour: exact, and without what has no price."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from computepool.audit.prices import Price, PriceRule, PriceSource
from computepool.model.quantity import MILLI
from tests.builders import GPU, NOW, node
from tests.unit.audit.audited import cluster
from tests.unit.audit.money_cases import H100, audited, held


def rules(**prices: str) -> tuple[PriceRule, ...]:
    return tuple(PriceRule(name, Decimal(price)) for name, price in prices.items())


NODES = [node("a1"), node("a2"), node("n1"), node("c1", 4)]
PODS = [held("web-1", 4, on="a1"), held("web-2", 2, on="n1"), held("train-1", 8, on="a2"), held("web-3", 8)]


def test_providers_and_workloads_have_their_costs() -> None:
    costs = audited(cluster(NODES, PODS), prices=rules(aws="12.29", nebius="2.95")).costs
    told = [(one.provider, one.accelerators, one.unpriced, one.per_hour, one.used_per_hour) for one in costs.providers]
    assert told == [
        ("aws", 16_000, 0, Decimal("196.64"), Decimal("147.48")),
        ("nebius", 8_000, 0, Decimal("23.60"), Decimal("5.90")),
        ("crusoe", 4_000, 4_000, Decimal(0), Decimal(0)),
    ]
    assert [one.sources for one in costs.providers] == [(PriceSource.GIVEN,), (PriceSource.GIVEN,), ()]
    assert {str(one.name): one.per_hour for one in costs.workloads} == {
        "default/deployment/train": Decimal("98.32"),
        "default/deployment/web": Decimal("55.06"),
    }
    assert (costs.per_hour, costs.unpriced, costs.known) == (Decimal("220.24"), 4_000, True)


def test_a_workload_partly_at_a_provider_without_a_price_says_so() -> None:
    (web, _) = audited(cluster(NODES, PODS), prices=rules(nebius="2.95")).costs.workloads
    assert (str(web.name), web.accelerators, web.unpriced, web.per_hour) == (
        "default/deployment/web",
        6_000,
        4_000,
        Decimal("5.90"),
    )


def test_a_given_price_of_zero_is_a_price() -> None:
    costs = audited(cluster(NODES, PODS), prices=rules(aws="0", nebius="0", crusoe="0")).costs
    assert (costs.per_hour, costs.unpriced, costs.known) == (Decimal(0), 0, True)


def test_a_price_of_a_provider_without_nodes_is_told() -> None:
    assert audited(cluster(NODES), prices=rules(aws="1", awz="2")).costs.strangers == ("awz",)


def test_a_price_that_matches_no_accelerator_is_told_with_its_path() -> None:
    given = (
        PriceRule("aws", Decimal(9)),
        PriceRule("aws", Decimal(8), model="H100"),
        PriceRule("aws", Decimal(7), model="H200", capacity_type="spot"),
        PriceRule("nebius", Decimal(1), resource="nvidia.com/mig-1g.10gb"),
        PriceRule("awz", Decimal(1)),
    )
    costs = audited(cluster([node("a1", labels=H100), node("n1")]), prices=given).costs
    # The general price of aws has no effect here, and is no mistake.
    assert costs.unmatched == ("aws.H200.spot", "nebius.nvidia.com/mig-1g.10gb")
    assert (costs.given, costs.strangers) == (True, ("awz",))
    without = audited(cluster([node("a1")])).costs
    assert (without.given, without.unmatched) == (False, ())


def test_pods_that_end_or_belong_to_their_node_are_no_workload() -> None:
    found = cluster(NODES, [held("old-1", 1, on="a1", deleting=NOW), held("agent-1", 1, on="a1", kind="DaemonSet")])
    costs = audited(found, prices=rules(aws="1")).costs
    assert costs.workloads == ()
    assert costs.providers[0].used_per_hour == 2


def test_a_pod_that_was_bound_by_hand_costs_its_provider_no_more_than_the_node_has() -> None:
    (aws,) = audited(cluster([node("a1")], [held("web-1", 100, on="a1")]), prices=rules(aws="2")).costs.providers
    assert (aws.used_per_hour, aws.unused_per_hour) == (Decimal(16), Decimal(0))


def test_a_provider_has_one_price_only_where_all_its_accelerators_cost_the_same() -> None:
    nodes = [node("a1", labels=H100), node("a2", labels=H100), node("n1", labels=H100), node("n2"), node("c1")]
    given = (PriceRule("aws", Decimal(9), model="H100"), PriceRule("nebius", Decimal(3), model="H100"))
    costs = audited(cluster(nodes), prices=given).costs
    assert costs.prices == {("aws", GPU): Price(Decimal(9), PriceSource.GIVEN)}


PRICES = st.dictionaries(
    st.sampled_from(["aws", "nebius", "crusoe"]),
    st.decimals(min_value=0, max_value=999, places=6).map(lambda price: f"{price:f}"),
)


@given(
    prices=PRICES,
    places=st.lists(st.tuples(st.sampled_from(["a1", "a2", "n1", "c1", ""]), st.integers(1, 2)), max_size=8),
)
def test_sums_add_up_and_what_has_no_price_is_in_none(prices: dict[str, str], places: list[tuple[str, int]]) -> None:
    pods = [held(f"w{number % 3}-{number}", amount, on=on) for number, (on, amount) in enumerate(places)]
    found = audited(cluster(NODES, pods), prices=rules(**prices))
    costs = found.costs
    assert sum(one.accelerators for one in costs.providers) == sum(row.capacity for row in found.supply)
    assert sum(one.accelerators for one in costs.workloads) == sum(one.accelerators for one in found.workloads)
    for one in costs.providers:
        priced = (one.accelerators - one.unpriced) // MILLI
        assert one.unpriced == (0 if one.provider in prices else one.accelerators)
        assert one.per_hour == priced * Decimal(prices.get(one.provider, "0"))
        assert 0 <= one.used_per_hour <= one.per_hour
        assert one.used_per_hour + one.unused_per_hour == one.per_hour
    fits = all(sum(amount for on, amount in places if on == name) <= size for name, size in (("c1", 4), ("a1", 8)))
    if fits and all(sum(amount for on, amount in places if on == name) <= 8 for name in ("a2", "n1")):
        assert sum(one.per_hour for one in costs.workloads) == sum(one.used_per_hour for one in costs.providers)
