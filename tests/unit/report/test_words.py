"""Texts about times, counts and lists."""

from __future__ import annotations

import pytest

from computepool.report.formatting import counted, listed, pod_names, span
from tests.builders import pod


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-3, "0 s"),
        (59.6, "60 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172800, "2 d"),
    ],
)
def test_lengths_of_time_are_written_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_one_is_not_many() -> None:
    assert (counted(0, "pod"), counted(1, "pod"), counted(2, "pod")) == ("0 pods", "1 pod", "2 pods")


def test_a_list_says_how_many_it_leaves_out() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert pod_names(pod(name) for name in "dcba") == "default/a, default/b, default/c"
