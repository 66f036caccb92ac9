"""kubectl's flags in front of the command."""

from __future__ import annotations

import pytest

from computepool.cli.kubectl_flags import command_first


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        ("", ""),
        ("status", "status"),
        ("status --context a", "status --context a"),
        ("--context a status", "status --context a"),
        ("--context=a status inference", "status --context=a inference"),
        ("-n team explain web", "explain -n team web"),
        ("--namespace team --kubeconfig=k explain -n x web", "explain --namespace team --kubeconfig=k -n x web"),
        ("--help", "--help"),
        ("--context a --help", "--help --context a"),
        ("--unknown a status", "--unknown a status"),
        ("--context", "--context"),
        ("--context a", "--context a"),
    ],
)
def test_the_command_comes_first(words: str, ordered: str) -> None:
    assert command_first(words.split()) == ordered.split()
