"""A pod as its controller makes it again: what came to it later is gone, and what it asked for itself stays."""

from __future__ import annotations

from typing import Any

from computepool.assess.capacity.providers import own_tolerations, providers_of
from computepool.model.cluster import made_again
from tests.builders import NOW, pod, pool, shape, standby_toleration

PROVIDERS = providers_of(pool())


def test_a_pod_that_was_sent_keeps_its_own_tolerations_alone() -> None:
    sent = pod("p", sent=[("nebius", NOW - 60)], tolerates=["crusoe"])
    assert own_tolerations(sent, PROVIDERS) == (standby_toleration("crusoe"),)


def test_a_pod_that_was_sent_twice_loses_both_tolerations() -> None:
    sent = pod("p", sent=[("nebius", NOW - 60), ("crusoe", NOW - 30)])
    assert own_tolerations(sent, PROVIDERS) == ()


def test_a_pod_that_was_never_sent_keeps_what_it_tolerates() -> None:
    assert own_tolerations(pod("p", tolerates=["nebius"]), PROVIDERS) == (standby_toleration("nebius"),)


def test_a_pod_is_made_again_as_it_was_created() -> None:
    created = pod("p", labels={"app": "web"}, owner="web", priority=3)
    since: dict[str, Any] = {
        "started": NOW - 50,
        "ready": True,
        "ready_since": NOW - 40,
        "has_run": True,
        "signals": ("busy",),
    }
    seen = pod("p", labels={"app": "web"}, owner="web", priority=3, on="n1", sent=[("nebius", NOW - 60)], **since)
    made = made_again(seen, shape())
    assert made.labels == {"app": "web"}
    assert (made.node, made.offers, made.signals, made.shape) == ("", (), (), created.shape)
    assert (made.started, made.ready, made.ready_since, made.has_run) == (None, False, None, False)
    assert (made.uid, made.owner, made.priority, made.created) == ("uid-default-p", "web", 3, created.created)
