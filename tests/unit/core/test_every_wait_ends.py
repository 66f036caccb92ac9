"""No pod waits for ever beside a standby with free places that it may use, whatever the pod waits for."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.decide.plan import Burst
from computepool.decide.reconcile import reconcile
from computepool.model.accelerators import request_of
from computepool.model.api import ProviderSpec
from computepool.model.cluster import Offer, Pod, Shape
from computepool.model.offers_annotation import with_offer
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, restarted
from tests.builders import GPU, NOW, node, pool, shape, with_tolerations
from tests.unit.core.clusters import Case, cases
from tests.unit.core.fleet import Fleet
from tests.unit.core.oracle import Oracle

LONG = 3 * 3600.0
"""More than all timeouts one after another, and than a breaker stays open."""
MOST_PASSES = 400


def patched(seen: Snapshot, bursts: tuple[Burst, ...], now: float) -> Snapshot:
    """The next view, in which the pods that were sent show it."""
    sent = {burst.pod.uid: burst for burst in bursts}

    def after(waiting: Pod) -> Pod:
        burst = sent.get(waiting.uid)
        if burst is None:
            return waiting
        return msgspec.structs.replace(
            waiting,
            shape=with_tolerations(waiting.shape, *burst.tolerations),
            labels={**waiting.labels, "computepool.io/burst": burst.provider},
            offers=with_offer(waiting.offers, Offer(burst.provider, now)),
        )

    return msgspec.structs.replace(seen, waiting=tuple(map(after, seen.waiting)))


def played(seen: Snapshot, state: PoolState, restart_after: int) -> tuple[Snapshot, PoolState]:
    """Let time pass in which the scheduler binds no pod and no pod ends. The operator restarts once."""
    now = NOW
    for number in range(MOST_PASSES):
        outcome = reconcile(seen, state, now)
        state = outcome.state if number != restart_after else restarted(outcome.state.recorded)
        seen = patched(seen, outcome.plan.bursts, now)
        recheck_at = outcome.plan.recheck_at
        if now >= NOW + LONG or (recheck_at is None and not outcome.plan.bursts and number != restart_after):
            break
        now = now + 1.0 if recheck_at is None else max(now + 1.0, recheck_at)
    return seen, state


@settings(max_examples=60)
@given(cases(), st.integers(0, 20))
def test_every_pod_may_use_every_standby_with_a_free_place_for_it_in_the_end(case: Case, restart_after: int) -> None:
    start = msgspec.structs.replace(case.seen, foreign=(), in_flight={})
    seen, state = played(start, case.state, restart_after)
    truth = Oracle(seen)
    for waiting in seen.waiting:
        if waiting.gated or waiting.deleting is not None:
            continue
        for standby in truth.providers[1:]:
            closed = state.breaker(standby.name).closed and standby.name not in truth.failed
            if truth.tolerates(waiting.shape, standby) or not truth.allows(waiting, standby) or not closed:
                continue
            limit = standby.capacity.max_accelerators
            if limit is not None and truth.committed(standby) + request_of(waiting, GPU) > limit * 1000:
                continue
            others = [other.shape for other in seen.waiting if truth.tolerates(other.shape, standby)]
            assert not has_room(truth, waiting.shape, standby, others), (waiting.name, standby.name)


def has_room(truth: Oracle, wanted: Shape, standby: ProviderSpec, others: list[Shape]) -> bool:
    """Whether a node has a free place, even if all of the others went there."""
    return any(
        truth.may_go(wanted, standby, info.node)
        and all(left >= amount for left, amount in _after(truth.free(info), wanted, others))
        for info in truth.nodes_of(standby.name)
    )


def _after(free: dict[str, int], wanted: Shape, others: list[Shape]) -> list[tuple[int, int]]:
    taken = [dict(other.requests) for other in others]
    return [(free.get(name, 0) - sum(t.get(name, 0) for t in taken), amount) for name, amount in wanted.requests]


# -- stories


def test_a_pod_leaves_a_primary_where_others_take_each_place_that_ends() -> None:
    """Jobs of another team end all the time, and the next job takes the place at once."""
    own = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
    fleet = Fleet(pool(workloads=own), [node("a1"), node("a2"), node("n1"), node("c1")], grace=20.0)
    fleet.create(2, shape(8), namespace="others", priority=1)
    fleet.settle()
    fleet.create(1, shape())
    begun = fleet.clock.now
    while not fleet.operator.bursts and fleet.clock.now < begun + 120:
        # There is always a job that ends soon, and one that goes on.
        running = [job for job in fleet.pods() if job.namespace == "others" and job.node and job.deleting is None]
        fleet.cluster.delete_pod(running[0].uid)
        fleet.run(10.0)
    assert 35 <= fleet.clock.now - begun <= 45
    assert [web.node for web in fleet.pods() if web.namespace == "default"] in (["n1"], ["c1"])


def test_a_pod_whose_victim_never_ends_runs_on_a_standby_instead() -> None:
    fleet = Fleet(pool(), [node("a1"), node("n1"), node("c1")])
    fleet.create(1, shape(8))
    fleet.settle()
    (victim,) = fleet.pods()
    fleet.cluster.update_pod(victim.uid, deleting=fleet.clock.now + 1e9)
    fleet.create(1, shape(), priority=9)
    (urgent,) = [waiting for waiting in fleet.pods() if not waiting.node]
    fleet.cluster.update_pod(urgent.uid, nominated="a1")
    fleet.run(50.0)
    assert urgent.uid not in [burst.pod.uid for burst in fleet.operator.bursts]
    fleet.run(15.0)
    assert [running.node for running in fleet.pods() if running.priority == 9] == ["c1"]
