"""Label selectors, node affinity, taints and tolerations mean what they mean to the API server and the scheduler."""

import pytest

from computepool.model.api import LabelSelector
from computepool.model.selectors import (
    Requirement,
    Selector,
    Taint,
    Term,
    Toleration,
    compile_selector,
    keeps_off,
    passing,
    tolerated,
)

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
    assert compile_selector(None).matches(NODE)


def test_all_requirements_of_a_selector_have_to_hold() -> None:
    selector = LabelSelector.model_validate(
        {
            "matchLabels": {"zone": "a"},
            "matchExpressions": [{"key": "generation", "operator": "NotIn", "values": ["4"]}],
        }
    )
    compiled = compile_selector(selector)
    assert compiled.matches(NODE)
    assert not compiled.matches({**NODE, "generation": "4"})
    assert not compiled.matches({**NODE, "zone": "b"})


def test_requirements_of_a_selector_come_in_the_same_order_however_its_labels_are_written() -> None:
    one = compile_selector(LabelSelector(match_labels={"a": "1", "b": "2"}))
    assert one == compile_selector(LabelSelector(match_labels={"b": "2", "a": "1"}))


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


TAINT = Taint("computepool.io/provider", "nebius", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration("computepool.io/provider", "Equal", "nebius", "NoSchedule"), True),
        (Toleration("computepool.io/provider", "", "nebius", "NoSchedule"), True),
        (Toleration("computepool.io/provider", "Equal", "nebius"), True),
        (Toleration("computepool.io/provider", "Exists"), True),
        (Toleration("", "Exists"), True),
        (Toleration("", "Exists", "", "NoExecute"), False),
        (Toleration("computepool.io/provider", "Equal", "crusoe", "NoSchedule"), False),
        (Toleration("computepool.io/provider", "Equal", "nebius", "NoExecute"), False),
        (Toleration("other", "Exists"), False),
        (Toleration("", "Equal", "nebius"), False),
        (Toleration("computepool.io/provider", "Gt", "nebius"), False),
    ],
    ids=str,
)
def test_a_toleration_covers_a_taint_as_in_the_scheduler(toleration: Toleration, tolerates: bool) -> None:
    assert toleration.tolerates(TAINT) is tolerates


@pytest.mark.parametrize(
    ("effect", "off"), [("NoSchedule", True), ("NoExecute", True), ("PreferNoSchedule", False), ("", False)]
)
def test_only_taints_that_forbid_keep_pods_off(effect: str, off: bool) -> None:
    taint = Taint("a", "b", effect)
    assert keeps_off(taint) is off
    assert tolerated([taint], []) is not off


def test_every_taint_needs_a_toleration_of_its_own() -> None:
    taints = [TAINT, Taint("nvidia.com/gpu", "", "NoSchedule")]
    mine = Toleration("computepool.io/provider", "Exists")
    assert not tolerated(taints, [mine])
    assert tolerated(taints, [mine, Toleration("nvidia.com/gpu", "Exists")])


@pytest.mark.parametrize(
    ("key", "passes"),
    [
        ("node.kubernetes.io/not-ready", True),
        ("node.kubernetes.io/unschedulable", True),
        ("node.cloudprovider.kubernetes.io/uninitialized", True),
        ("computepool.io/provider", False),
        ("nvidia.com/gpu", False),
    ],
)
def test_taints_of_a_nodes_state_pass_with_it(key: str, passes: bool) -> None:
    assert passing(Taint(key, "", "NoSchedule")) is passes
