"""What people are told of standbys that the API server lets no pod be sent to, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from computepool.decide.reconcile import reconcile
from computepool.decide.refused_patches import CLEAR_SECONDS, GRACE_SECONDS
from computepool.model.cluster import Pod, RefusedOffer
from computepool.model.snapshot import Snapshot
from computepool.model.state import Memory, PoolState, RefusedProvider
from tests.builders import NOW, node, pod, pool, snapshot
from tests.unit.core.passes import Decided, decided

HOLDER = pod("holder", 8, on="a1")
NODES = (node("a1"), node("n1"), node("c1"))
P, Q = pod("p", 1, waited=90), pod("q", 1)
FIRST, AGAIN = (RefusedOffer("nebius", NOW - 1, NOW + 30, "no", times) for times in (1, 2))


def seen(*pods: Pod, refused: Mapping[str, Sequence[RefusedOffer]] = {}, **fields: Any) -> Snapshot:
    by_uid = {found.uid: tuple(refused[found.name]) for found in pods if found.name in refused}
    return snapshot(pool(), NODES, (HOLDER, *pods), refused_offers=by_uid, **fields)


def after(view: Snapshot, before: Mapping[str, RefusedProvider] = {}, now: float = NOW) -> Decided:
    return decided(view, PoolState(memory=Memory(refused=before)), now)


def told(view: Snapshot, before: Mapping[str, RefusedProvider] = {}, now: float = NOW) -> dict[str, str]:
    return {name: refused.message for name, refused in after(view, before, now).state.memory.refused.items()}


TEXT = "the patch that sends pod default/p to nebius was refused: no"


def test_a_first_refusal_is_told_while_the_pod_waits_and_no_longer() -> None:
    assert told(seen(P, refused={"p": [FIRST]})) == {"nebius": TEXT}
    before = after(seen(P, refused={"p": [FIRST]})).state.memory.refused
    assert told(seen(), before) == {}


def test_several_pods_are_counted_and_each_provider_is_told() -> None:
    found = told(seen(P, Q, refused={"p": [AGAIN, replace(AGAIN, provider="crusoe")], "q": [AGAIN]}))
    assert found == {"nebius": f"2 pods, such as: {TEXT}", "crusoe": TEXT.replace("nebius", "crusoe")}
    assert told(seen(Q, P, refused={"p": [AGAIN], "q": [AGAIN]})) == {"nebius": f"2 pods, such as: {TEXT}"}


def test_it_stands_until_another_attempt_had_time() -> None:
    over = FIRST.until + GRACE_SECONDS
    view = seen(P, refused={"p": [FIRST]})
    assert told(view, now=over - 1) == {"nebius": TEXT}
    assert told(view, now=over) == {}
    assert told(view, now=FIRST.at - 1) == {}, "the clock was set back"


def test_a_provider_that_was_refused_again_is_told_for_a_while() -> None:
    before = after(seen(P, refused={"p": [AGAIN]})).state.memory.refused
    assert before["nebius"].until == NOW + CLEAR_SECONDS
    assert after(seen(), before, NOW + CLEAR_SECONDS - 1).recheck_at == NOW + CLEAR_SECONDS
    assert told(seen(), before, NOW + CLEAR_SECONDS - 1) == {"nebius": TEXT}
    assert told(seen(), before, NOW + CLEAR_SECONDS) == {}
    assert told(seen(), before, NOW - 1) == {}, "the clock was set back"


def test_other_pods_that_the_provider_takes_change_nothing() -> None:
    before = after(seen(P, refused={"p": [AGAIN]})).state.memory.refused
    mixed = after(seen(Q, pod("fine", 1, on="n1")), before, NOW + 1)
    assert mixed.state.memory.refused == before


def test_it_ends_with_another_spec_and_with_the_provider() -> None:
    before = after(seen(P, refused={"p": [AGAIN]})).state.memory.refused
    edited = seen().pool.model_copy(
        update={"metadata": seen().pool.metadata.model_copy(update={"generation": seen().pool.metadata.generation + 1})}
    )
    assert told(replace(seen(), pool=edited), before) == {}
    assert told(seen(), {"gone": before["nebius"]}) == {}


def test_a_frozen_pool_keeps_what_it_tells() -> None:
    before = after(seen(P, refused={"p": [AGAIN]})).state.memory.refused
    frozen = reconcile(seen(stale="no news"), PoolState(memory=Memory(refused=before)), NOW + 1)
    assert frozen.state.memory.refused == before
