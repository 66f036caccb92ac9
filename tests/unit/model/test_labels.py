"""Label selectors and node affinity mean what they mean to the API server and the scheduler."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.api import LabelSelector
from computepool.model.labels import Labels, Requirement, Selector, Term

NODE = {"zone": "a", "generation": "5", "empty": ""}


@pytest.mark.parametrize(
    ("requirement", "matches"),
    [
        (Requirement("zone", "In", ("a", "b")), True),
        (Requirement("zone", "In", ("b",)), False),
        (Requirement("absent", "In", ("a",)), False),
        (Requirement("absent", "In", ("",)), False),
        (Requirement("empty", "In", ("",)), True),
        (Requirement("zone", "NotIn", ("b",)), True),
        (Requirement("zone", "NotIn", ("a", "b")), False),
        (Requirement("absent", "NotIn", ("a",)), True),
        (Requirement("zone", "Exists"), True),
        (Requirement("empty", "Exists"), True),
        (Requirement("absent", "Exists"), False),
        (Requirement("zone", "DoesNotExist"), False),
        (Requirement("absent", "DoesNotExist"), True),
        (Requirement("generation", "Gt", ("4",)), True),
        (Requirement("generation", "Gt", ("5",)), False),
        (Requirement("generation", "Lt", ("6",)), True),
        (Requirement("generation", "Lt", ("5",)), False),
        (Requirement("zone", "Gt", ("4",)), False),
        (Requirement("absent", "Lt", ("4",)), False),
        (Requirement("generation", "Gt", ("4_0",)), False),
        (Requirement("generation", "Gt", ()), False),
        (Requirement("zone", "Like", ("a",)), False),
    ],
    ids=str,
)
def test_a_requirement_matches_as_in_the_api_server(requirement: Requirement, matches: bool) -> None:
    assert requirement.matches(NODE) is matches


def test_a_number_with_an_underscore_is_a_label_value_and_no_number() -> None:
    assert not Requirement("generation", "Gt", ("4",)).matches({"generation": "1_000"})


def test_a_selector_without_requirements_selects_everything() -> None:
    assert Selector().matches({})
    assert LabelSelector().compiled().matches(NODE)


def test_all_requirements_of_a_selector_have_to_hold() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"zone": "a"},
            "matchExpressions": [{"key": "generation", "operator": "NotIn", "values": ["4"]}],
        }
    ).compiled()
    assert selector.matches(NODE)
    assert not selector.matches({**NODE, "generation": "4"})
    assert not selector.matches({**NODE, "zone": "b"})


def test_requirements_of_a_selector_come_in_the_same_order_however_its_labels_are_written() -> None:
    selector = LabelSelector(match_labels={"a": "1", "b": "2"})
    assert selector.compiled() == LabelSelector(match_labels={"b": "2", "a": "1"}).compiled()


@pytest.mark.parametrize(
    ("term", "matches"),
    [
        (Term(), False),
        (Term((Requirement("zone", "In", ("a",)),)), True),
        (Term((Requirement("zone", "In", ("a",)), Requirement("generation", "In", ("4",)))), False),
        (Term((), (Requirement("metadata.name", "In", ("n1",)),)), True),
        (Term((), (Requirement("metadata.name", "NotIn", ("n1",)),)), False),
        (Term((Requirement("zone", "In", ("b",)),), (Requirement("metadata.name", "In", ("n1",)),)), False),
        (Term((), (Requirement("spec.unschedulable", "In", ("n1",)),)), False),
    ],
    ids=str,
)
def test_a_node_selector_term_needs_all_its_parts_and_an_empty_one_matches_no_node(term: Term, matches: bool) -> None:
    assert term.matches("n1", NODE) is matches


VALUES = ("1", "2", "3")
STATES = (None, *VALUES, "some other value")
"""What a label can be, as far as requirements on VALUES tell labels apart; None: absent."""
LISTS = st.lists(st.sampled_from(VALUES), min_size=1, max_size=3, unique=True).map(tuple)
LISTING, EXISTENCE, ORDER = ("In", "NotIn"), ("Exists", "DoesNotExist"), ("Gt", "Lt")


def requirements(keys: str) -> st.SearchStrategy[Requirement]:
    """Return requirements as a pool's selectors may have them."""
    key = st.sampled_from(keys)
    return st.builds(Requirement, key, st.sampled_from(LISTING), LISTS) | st.builds(
        Requirement, key, st.sampled_from(EXISTENCE)
    )


def selectors() -> st.SearchStrategy[Selector]:
    """Return selectors as a pod's node affinity may have them."""
    orders = st.builds(Requirement, st.just("k"), st.sampled_from(ORDER), st.tuples(st.sampled_from(VALUES)))
    return st.builds(Selector, st.lists(requirements("kl") | orders, max_size=3).map(tuple))


def fulfils(requirement: Requirement, value: str | None) -> bool:
    """Read a requirement without the code under test."""
    listed = value in requirement.values
    meaning = {"In": listed, "NotIn": not listed, "Exists": value is not None, "DoesNotExist": value is None}
    return meaning[requirement.operator]


@given(requirements("k"), requirements("k"))
def test_requirements_exclude_each_other_exactly_if_no_label_fulfils_both(
    first: Requirement, second: Requirement
) -> None:
    possible = any(fulfils(first, value) and fulfils(second, value) for value in STATES)
    assert first.excludes(second) is not possible


@given(selectors(), selectors())
def test_no_labels_match_two_selectors_that_exclude_each_other(first: Selector, second: Selector) -> None:
    if first.excludes(second):
        every: list[Labels] = [
            {key: value for key, value in zip("kl", values, strict=True) if value is not None}
            for values in product(STATES, repeat=2)
        ]
        assert not any(first.matches(labels) and second.matches(labels) for labels in every)


@given(requirements("k"), requirements("l"))
def test_requirements_on_different_keys_exclude_nothing(first: Requirement, second: Requirement) -> None:
    assert not first.excludes(second)


@pytest.mark.parametrize("other", [Requirement("k", "DoesNotExist"), Requirement("k", "In", ("1",))], ids=str)
def test_a_comparison_of_numbers_excludes_nothing(other: Requirement) -> None:
    comparison = Requirement("k", "Gt", ("5",))
    assert not comparison.excludes(other)
    assert not other.excludes(comparison)
