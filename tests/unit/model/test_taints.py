"""Taints and tolerations mean what they mean to the scheduler."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.model.taints import Taint, Toleration, covered, tolerance_of, tolerated

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
def test_a_toleration_tolerates_a_taint_as_in_the_scheduler(toleration: Toleration, tolerates: bool) -> None:
    assert toleration.tolerates(TAINT) is tolerates


@pytest.mark.parametrize(
    ("effect", "blocks"), [("NoSchedule", True), ("NoExecute", True), ("PreferNoSchedule", False), ("", False)]
)
def test_only_taints_that_forbid_block_pods(effect: str, blocks: bool) -> None:
    taint = Taint("a", "b", effect)
    assert taint.blocks is blocks
    assert tolerated([taint], []) is not blocks


def test_every_taint_needs_a_toleration_of_its_own() -> None:
    taints = [TAINT, Taint("nvidia.com/gpu", "", "NoSchedule")]
    mine = Toleration("computepool.io/provider", "Exists")
    assert not tolerated(taints, [mine])
    assert tolerated(taints, [mine, Toleration("nvidia.com/gpu", "Exists")])


@pytest.mark.parametrize(
    ("key", "transient"),
    [
        ("node.kubernetes.io/not-ready", True),
        ("node.kubernetes.io/unschedulable", True),
        ("node.cloudprovider.kubernetes.io/uninitialized", True),
        ("computepool.io/provider", False),
        ("nvidia.com/gpu", False),
    ],
)
def test_taints_of_a_nodes_state_are_transient(key: str, transient: bool) -> None:
    assert Taint(key, "", "NoSchedule").transient is transient


EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
TAINTS = [Taint(*parts) for parts in product("abc", ("", "x", "y", "z"), EFFECTS)]
"""Every taint that the tolerations below can tell apart: they name neither the key c nor the value z."""
ANY = st.builds(
    Toleration,
    st.sampled_from(("", "a", "b")),
    st.sampled_from(("", "Equal", "Exists", "Gt")),
    st.sampled_from(("", "x", "y")),
    st.sampled_from(("", *EFFECTS)),
)
VALID = ANY.filter(lambda made: made.operator == "Exists" or (made.operator != "Gt" and made.key != ""))


@given(ANY, VALID)
def test_a_toleration_covers_another_exactly_if_it_tolerates_every_taint_of_the_other(
    mine: Toleration, other: Toleration
) -> None:
    assert mine.covers(other) is all(mine.tolerates(taint) for taint in TAINTS if other.tolerates(taint))


@given(st.lists(ANY, max_size=3), st.lists(VALID, max_size=3))
def test_tolerations_that_cover_the_wanted_ones_tolerate_every_taint_that_those_tolerate(
    tolerations: list[Toleration], wanted: list[Toleration]
) -> None:
    if covered(wanted, tolerations):
        assert all(tolerated([taint], tolerations) for taint in TAINTS if tolerated([taint], wanted))


@given(st.lists(ANY, max_size=4), st.lists(st.sampled_from(TAINTS), max_size=2))
def test_very_many_tolerations_mean_the_same_as_few(tolerations: list[Toleration], taints: list[Taint]) -> None:
    many = [*tolerations, *(Toleration(f"other-{index}", "Exists") for index in range(200))]
    assert tolerance_of(many)(taints) is tolerated(taints, tolerations)
    assert tolerance_of(tolerations)(taints) is tolerated(taints, tolerations)
