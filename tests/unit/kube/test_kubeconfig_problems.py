"""What is wrong with kubeconfig files, in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from computepool.kube.kubeconfig_problems import plugin_in, problem_in

GOOD = """
clusters: [{name: c, cluster: {server: "https://example.com"}}]
users: [{name: u, user: {exec: {command: aws}}}]
contexts: [{name: x, context: {cluster: c, user: u}}, {name: other, context: {cluster: c}}]
current-context: x
"""


def write(folder: Path, text: str | bytes, name: str = "config") -> str:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


def test_a_file_in_order_has_no_problem(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert problem_in(path, None) is None
    assert problem_in(path, "other") is None


def test_a_context_that_was_asked_for_and_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    assert problem_in(write(tmp_path, GOOD), "mine") == "it has no context 'mine'; it has other, x"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        ("- a", "it is no kubeconfig: it must be a mapping with clusters and contexts"),
        ("{", "it is not YAML: "),
        (b"\x00\xff", "it can't be read: "),
        ("clusters: 3", "its clusters must be a list"),
        ("users: abc", "its users must be a list"),
        ("clusters: [a]", "an entry of its clusters has no name"),
        ("current-context: x", "it has no context 'x'; it has none"),
        ("contexts: [{name: x}]\ncurrent-context: x", "its context 'x' is empty"),
    ],
)
def test_each_problem_is_a_sentence(tmp_path: Path, text: str | bytes, problem: str) -> None:
    found = problem_in(write(tmp_path, text), None)
    assert found is not None
    assert found.startswith(problem)
    assert "\n" not in found


def test_several_files_are_read_as_one_and_the_first_current_context_counts(tmp_path: Path) -> None:
    users = write(tmp_path, "users: [{name: u, user: {}}]\ncurrent-context: x", "users")
    others = write(tmp_path, GOOD.replace("users:", "others:").replace("current-context: x", "current-context: y"), "o")
    assert problem_in(os.pathsep.join((users, "", others)), None) is None
    assert problem_in(others, "x") == "its context 'x' names the user 'u', which it does not have"


def test_the_plugin_of_the_context_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert plugin_in(path, None) == "aws"
    assert plugin_in(path, "other") is None
    assert plugin_in(write(tmp_path, "{}", "bare"), None) is None
