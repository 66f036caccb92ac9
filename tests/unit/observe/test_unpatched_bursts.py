"""Pods that may go to a standby of their pool without having been sent: others keep their places too."""

from __future__ import annotations

from typing import Any

import pytest

from computepool.model.taints import Toleration
from computepool.observe.store import Store
from tests.builders import NOW, namespace, node, pod, pool, provider, shape
from tests.unit.observe.storing import Enqueued, changed, filled, put


def workloads(of: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"of": of}}}


MINE = pool(name="mine", workloads=workloads("mine"))
THEIRS = pool(name="theirs", workloads=workloads("theirs"))
ADMITTED = pod("admitted", labels={"of": "theirs"}, tolerates=["nebius"])


def two(*more: Any, enqueued: Enqueued | None = None) -> Store:
    return filled(MINE, THEIRS, namespace(), node("n1"), *more, enqueued=enqueued)


def foreign(store: Store) -> list[str]:
    return [foreign.name for foreign in store.snapshot("mine").foreign]


def test_a_pod_that_the_policy_admitted_holds_its_place_in_other_pools_before_anybody_has_labelled_it() -> None:
    store = two(ADMITTED)
    assert foreign(store) == ["admitted"]
    assert store.snapshot("theirs").foreign == ()


def test_a_pod_that_tolerates_everything_may_land_there_as_well() -> None:
    everything = shape(tolerations=[Toleration("", "Exists", "", "")])
    assert foreign(two(pod("any", labels={"of": "theirs"}, shaped=everything))) == ["any"]


@pytest.mark.parametrize(
    "other",
    [
        pod("p", labels={"of": "theirs"}),
        pod("p", labels={"of": "theirs"}, tolerates=["elsewhere"]),
        pod("p", labels={"of": "nobody"}, tolerates=["nebius"]),
        pod("p", labels={"of": "theirs"}, tolerates=["nebius"], on="a1"),
        pod("p", labels={"of": "theirs"}, tolerates=["nebius"], gated=True),
        pod("p", labels={"of": "theirs"}, tolerates=["nebius"], deleting=NOW),
    ],
    ids=["tolerates nothing", "another's standby", "of no pool", "bound", "gated", "terminating"],
)
def test_a_pod_that_can_not_land_there_holds_no_place(other: Any) -> None:
    assert foreign(two(other)) == []


def test_once_its_gates_are_lifted_a_pod_holds_its_place() -> None:
    gated = pod("p", labels={"of": "theirs"}, tolerates=["nebius"], gated=True)
    assert foreign(two(gated, changed(gated, gated=False))) == ["p"]


@pytest.mark.parametrize("end", [{"node": "n1"}, {"deleting": NOW}, {"finished": True}], ids=str)
def test_a_place_that_is_given_up_has_every_pool_looked_at(end: dict[str, Any]) -> None:
    enqueued = Enqueued()
    store = two(ADMITTED, enqueued=enqueued)
    put(store, changed(ADMITTED, **end))
    assert "mine" in enqueued.pools()
    assert foreign(store) == []


def test_the_pools_standbys_of_now_decide() -> None:
    store = two(ADMITTED)
    put(store, pool(provider("aws"), provider("crusoe"), name="theirs", workloads=workloads("theirs")))
    assert foreign(store) == []
    put(store, THEIRS)
    assert foreign(store) == ["admitted"]
