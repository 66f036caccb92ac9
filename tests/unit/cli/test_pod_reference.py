"""Every way to name a pod, and texts that name none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computepool.cli.pod_reference import FORMS, PodReferenceError, parse_reference

# No kind begins with an x.
NAMES = st.from_regex(r"x([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
KINDS = ("pod", "pods", "po")


@pytest.mark.parametrize(
    ("text", "namespace", "found"),
    [
        ("web", None, (None, "web")),
        ("web", "team", ("team", "web")),
        ("team/web", None, ("team", "web")),
        ("team/web", "team", ("team", "web")),
        ("pod/web", None, (None, "web")),
        ("pod/web", "team", ("team", "web")),
        ("pods/web", None, (None, "web")),
        ("po/web", None, (None, "web")),
        ("team/pod/web", None, ("team", "web")),
        ("team/pods/web", "team", ("team", "web")),
        ("pod/pod/web", None, ("pod", "web")),
        ("job/pod/web", None, ("job", "web")),
        ("web.example-0.x", None, (None, "web.example-0.x")),
    ],
)
def test_each_form_names_a_pod(text: str, namespace: str | None, found: tuple[str | None, str]) -> None:
    assert parse_reference(text, namespace) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "//", "pods/", "pod/", "/web", "team/", "team//web", "a/b/c", "a/b/c/d", "team/pod/"),
        *("Web", "web_1", "-web", "web-", "te.am/web", "TEAM/web", "web web", "web\n", "a" * 254),
    ],
)
def test_nonsense_is_told_with_the_forms_that_work(text: str) -> None:
    with pytest.raises(PodReferenceError) as told:
        parse_reference(text)
    assert FORMS in str(told.value)
    assert repr(text) in str(told.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("deploy/web", "Deployment"),
        ("deployments.apps/web", "Deployment"),
        ("job/train", "Job"),
        ("node/n1", "Node"),
        ("cpool/inference", "ComputePool"),
        ("sts/db", "StatefulSet"),
    ],
)
def test_another_kind_is_named(text: str, kind: str) -> None:
    with pytest.raises(PodReferenceError, match=f"names a {kind}, and explain is about a single pod"):
        parse_reference(text)


def test_two_namespaces_contradict_each_other() -> None:
    with pytest.raises(PodReferenceError, match="give one of them"):
        parse_reference("team/web", "other")


@given(NAMES, NAMES, st.sampled_from(KINDS))
def test_all_forms_of_one_pod_mean_the_same(namespace: str, name: str, kind: str) -> None:
    forms = [
        (name, namespace),
        (f"{kind}/{name}", namespace),
        (f"{namespace}/{name}", None),
        (f"{namespace}/{kind}/{name}", None),
    ]
    assert {parse_reference(text, where) for text, where in forms} == {(namespace, name)}
