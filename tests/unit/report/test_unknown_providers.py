"""Annotations with names that are no provider of the pool: the pod and the pool are told, and nothing else changes."""

from __future__ import annotations

import pytest

from computepool.model.cluster import Pod
from computepool.model.reasons import Reason
from computepool.report.unknown_providers import (
    NEW,
    UnknownProviders,
    unknown_providers,
    waiting_with_unknown_providers,
)
from tests.builders import node, pod, pool, snapshot
from tests.unit.core.passes import decided, sent_to
from tests.unit.report.passes import report_on, said
from tests.unit.report.recording import Recording

NODES = [node("a1"), node("n1"), node("c1")]
HOME = pod("home", 8, on="a1")


def listing(*names: str, name: str = "web", on: str = "") -> Pod:
    """A pod whose annotation lists these names."""
    return pod(name, allowed=names, on=on)


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        ((), ""),
        (("nebius",), ""),
        (("aws", "nebius"), ""),
        (("NEBIUS",), "'NEBIUS'"),
        ((",,",), "',,'"),
        (("nebius", "x", "y", "x"), "'x', 'y'"),
        (tuple("pqrst"), "'p', 'q', 'r' and 2 more"),
        (("x" * 4_000,), f"'{'x' * 62}…'"),
    ],
)
def test_the_names_that_no_provider_of_the_pool_has_are_found(names: tuple[str, ...], unknown: str) -> None:
    assert unknown_providers(listing(*names), pool()) == unknown


def test_a_pod_without_the_annotation_has_no_unknown_names() -> None:
    assert unknown_providers(pod("web"), pool()) == ""


def test_an_unknown_name_widens_no_allow_list_and_the_others_count() -> None:
    pods = [HOME, listing("NEBIUS", name="none"), listing("NEBIUS", "crusoe", name="some")]
    assert sent_to(decided(snapshot(pool(), NODES, pods))) == {"some": "crusoe"}


@pytest.mark.parametrize(
    ("names", "corrected"), [(("NEBIUS",), "nebius"), (("cruso", "nebius"), "nebius"), (("cruso",), "PROVIDER")]
)
def test_the_command_corrects_the_annotation_of_the_first_pod(names: tuple[str, ...], corrected: str) -> None:
    message = said(report_on(pool(), NODES, [HOME, listing(*names, name="a")]), "Degraded")[2]
    assert f"`kubectl annotate pod a --namespace default --overwrite computepool.io/providers={corrected}`" in message


def test_the_pool_says_so_without_being_degraded() -> None:
    seen = report_on(pool(), NODES, [HOME, listing("NEBIUS", name="b"), listing("cruso", name="a"), listing("nebius")])
    status, reason, message = said(seen, "Degraded")
    assert (status, reason) == ("False", "UnknownProvider")
    assert message.startswith(
        f"{Reason.UNKNOWN_PROVIDER.help} That is so for 2 pods, such as default/a, default/b ('cruso')."
    )
    assert said(seen, "Configured")[:2] == ("False", "UnknownProvider")
    assert said(report_on(pool(), NODES, [HOME, listing("NEBIUS", on="n1")]), "Degraded")[1] == "AllWell"


def test_each_waiting_pod_has_one_event() -> None:
    told = Recording()
    first, second = listing("NEBIUS", name="a"), listing("NEBIUS", name="b")
    for pods in ([first], [first], [first, second], [second, listing("nebius")]):
        told.recorder.record_unknown_providers(report_on(pool(), NODES, [HOME, *pods]))
    assert [(event.subject["name"], event.reason, event.warning) for event in told.events] == [
        ("a", Reason.UNKNOWN_PROVIDER, True),
        ("b", Reason.UNKNOWN_PROVIDER, True),
    ]
    assert told.events[0].note == (
        f"'NEBIUS': {Reason.UNKNOWN_PROVIDER.help} The pool inference has the standbys nebius, crusoe."
    )
    told.recorder.forget("inference")
    told.recorder.record_unknown_providers(report_on(pool(), NODES, [HOME, first]))
    assert len(told.events) == 3


def test_thousands_of_pods_are_told_a_hundred_in_each_pass_and_each_once() -> None:
    pods = [listing("NEBIUS", name=f"p{index}") for index in range(2 * NEW + 1)]
    unknown, seen = UnknownProviders(), waiting_with_unknown_providers(snapshot(pool(), NODES, pods))
    told = [[pod.uid for pod, _ in unknown.news("inference", seen)] for _ in range(4)]
    assert [len(uids) for uids in told] == [NEW, NEW, 1, 0]
    assert {uid for uids in told for uid in uids} == {pod.uid for pod in pods}
