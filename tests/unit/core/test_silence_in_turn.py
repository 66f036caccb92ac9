"""Heartbeats that end together are missed one after another: the pass waits until it sees all of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import node, pool
from tests.unit.core.watching import Watch, beating

AWS = [f"a{index}" for index in range(5)]
NEBIUS = [f"n{index}" for index in range(5)]
NODES = [node(name) for name in (*AWS, *NEBIUS)]
# Kubelets are heard every 10 s: all of a provider died at one moment, and were last heard up to so long before.
STAGGERED = {name: index * 2.0 for index, name in enumerate(AWS)}


def seen(now: float, nebius: float, **spec: Any) -> Watch:
    """The primary's nodes died at 8 s; the standby's were last heard `nebius` seconds after the beginning."""
    watch = Watch(pool(health={"silentSeconds": 25, "sustainSeconds": 0, **spec}))
    watch.see(-10, NODES, heartbeats=beating(-10, *AWS, *NEBIUS))
    last = {name: beating(at, name)[name] for name, at in STAGGERED.items()}
    others = {**beating(nebius, *NEBIUS), **beating(now, "elsewhere")}
    watch.see(now, NODES, heartbeats={**last, **others})
    return watch


@pytest.mark.parametrize("now", [25.0, 29.0, 32.9])
def test_a_second_provider_that_may_be_about_to_fall_silent_holds_everything_back(now: float) -> None:
    watch = seen(now, nebius=8)
    assert "aws, nebius" in watch.found.exceeded
    assert watch.breaker("aws").closed
    # The next look is soon: that it is heard after all shows in no change.
    assert watch.found.recheck_at is not None


def test_a_provider_that_falls_silent_alone_is_left_at_once() -> None:
    watch = seen(32.9, nebius=24)
    assert watch.found.exceeded == ""
    assert not watch.breaker("aws").closed


def test_its_first_silent_nodes_are_no_reason_to_wait() -> None:
    watch = seen(25.0, nebius=16)
    assert watch.found.exceeded == ""
    assert list(watch.unhealthy("aws")) == ["a0"]


def test_a_pool_that_allows_all_of_them_to_fail_does_not_wait() -> None:
    watch = seen(32.9, nebius=8, maxUnhealthyPercent=100)
    assert watch.found.exceeded == ""
