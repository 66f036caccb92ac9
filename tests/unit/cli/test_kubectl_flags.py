"""kubectl's flags in front of the command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.kubectl_flags import command_first


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        ("", ""),
        ("status", "status"),
        ("status --context a", "status --context a"),
        ("--context a status", "status --context a"),
        ("--context=a status inference", "status --context a inference"),
        ("--context= status", ["status", "--context", ""]),
        ("-nteam explain web", "explain -n team web"),
        ("-n=team explain web", "explain -n team web"),
        ("-nsystem --context a status -w", "status -n system --context a -w"),
        ("-n team explain web", "explain -n team web"),
        ("--namespace team --kubeconfig=k explain -n x web", "explain --namespace team --kubeconfig k -n x web"),
        ("--help", "--help"),
        ("--context a --help", "--help"),
        ("--kubeconfig=x --version", "--version"),
        ("-n a -h", "-h"),
        ("--unknown a status", "--unknown a status"),
        ("--context a --as b status", "--as b status"),
        ("--context", ""),
        ("--context a", ""),
    ],
)
def test_the_command_comes_first(words: str, ordered: str | list[str]) -> None:
    assert command_first(words.split()) == (ordered.split() if isinstance(ordered, str) else ordered)


WORDS = st.sampled_from(["-n", "-nteam", "--context", "--context=a", "--kubeconfig", "a", "status", "-w", "--help"])


@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=3))
def test_words_behind_the_command_stay_as_they_are(front: list[str], behind: list[str]) -> None:
    assert command_first(["explain", *front]) == ["explain", *front]
    found = command_first([*front, "--context", "b", "explain", *behind])
    assert found[len(found) - len(behind) :] == behind
