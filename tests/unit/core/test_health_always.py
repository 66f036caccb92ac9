"""Properties of health and breakers that hold after any events in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.assess.breakers.breaker import BreakerInput, BreakerRules, Step, step
from computepool.assess.health.faults import Fault
from computepool.assess.health.hysteresis import Times, node_fault_of, recheck_at
from computepool.assess.health.providers import ProviderHealth
from computepool.assess.health.silence import silence_of
from computepool.assess.recheck_times import soonest
from computepool.model.api import BreakerState, ComputePool
from computepool.model.cluster import Node
from computepool.model.reasons import Reason
from computepool.model.snapshot import Failure
from computepool.model.state import Breaker, BreakerTimers, NodeFault, recorded_in
from tests.builders import NOW, node, pod, pool, pool_state
from tests.unit.core.watching import Watch

often = settings(max_examples=150)
TIMES = Times(sustain=30, clear=60, silence=90, device_gone=600)
OPEN, HALF_OPEN, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED

WAITED_FOR = Fault(Reason.NODE_UNKNOWN, at_once=True)
SLOW = (Fault(Reason.NODE_NOT_READY), Fault(Reason.NODE_CONDITION, "XIDErrors=True"), Fault(Reason.DEVICES_MISSING))
steps = st.sampled_from((0.0, 1.0, 9.0, 29.0, 30.0, 59.0, 60.0, 200.0))


# -- nodes


@often
@given(st.lists(st.tuples(steps, st.sampled_from(SLOW)), min_size=1, max_size=12))
def test_a_fault_that_is_seen_again_or_turns_into_another_never_restarts_its_timer(
    story: list[tuple[float, Fault]],
) -> None:
    now, one = NOW, None
    for passed, fault in story:
        now += passed
        one = node_fault_of(one, fault, TIMES, now)
        assert one is not None
        assert one.since == NOW + story[0][0]
        assert one.reason is fault.reason
        assert one.unhealthy is (now - one.since >= TIMES.sustain)


@often
@given(st.lists(st.tuples(steps, st.sampled_from((None, *SLOW, WAITED_FOR))), max_size=20))
def test_a_node_is_unhealthy_after_a_long_enough_fault_until_a_long_enough_recovery(
    story: list[tuple[float, Fault | None]],
) -> None:
    now, one = NOW, None
    trouble = clear = 0.0
    before: tuple[Fault | None, NodeFault | None] = (None, None)
    for passed, fault in story:
        now += passed
        was_faulty, was = before
        # What lasted between two looks: the trouble seen at both, or its absence.
        trouble += passed if was_faulty is not None else 0.0
        clear = clear + passed if was_faulty is None else 0.0
        one = node_fault_of(one, fault, TIMES, now)
        became_sick = one is not None and one.unhealthy and not (was is not None and was.unhealthy)
        if became_sick:
            assert fault is not None
            assert fault.at_once or trouble >= TIMES.sustain
        if was is not None and was.unhealthy and not (one is not None and one.unhealthy):
            assert was_faulty is None
            assert clear >= TIMES.clear
        before = (fault, one)


@often
@given(st.lists(st.tuples(steps, st.sampled_from((None, *SLOW))), max_size=12), st.floats(0, 0.999))
def test_before_the_time_to_recheck_at_a_node_stays_as_it_is(
    story: list[tuple[float, Fault | None]], share: float
) -> None:
    now, one, fault = NOW, None, None
    for passed, fault in story:
        now += passed
        one = node_fault_of(one, fault, TIMES, now)
    again = None if one is None else recheck_at(one, TIMES)
    later = now + share * (3600 if again is None else again - now)
    after = node_fault_of(one, fault, TIMES, later)
    assert (one is not None and one.unhealthy) is (after is not None and after.unhealthy)
    if one is not None and one.unhealthy and one.present and after is not None:
        assert one.confirmed is after.confirmed


# -- what can't be told


READY = st.sampled_from(("True", "False", "Unknown"))


@st.composite
def untold(draw: st.DrawFn) -> Sequence[Node]:
    """Nodes of nebius that were never ready or whose conditions are unknown; aws is healthy."""
    young = [
        node(f"n{index}", draw(st.sampled_from((0, 8))), ready=draw(st.sampled_from(("False", "Unknown"))))
        for index in range(draw(st.integers(0, 3)))
    ]
    vague = [
        node(f"n{index + 5}", conditions={"XIDErrors": "Unknown", "AcceleratedHardwareReady": "Unknown"})
        for index in range(draw(st.integers(0, 2)))
    ]
    return [node("a1"), *young, *vague]


@often
@given(st.lists(st.tuples(steps, untold()), min_size=1, max_size=5), st.sampled_from((0, 30)))
def test_a_provider_that_can_not_be_judged_never_fails(story: list[tuple[float, Sequence[Node]]], sustain: int) -> None:
    watch, now = Watch(pool(health={"sustainSeconds": sustain})), 0.0
    for passed, nodes in story:
        now += passed
        watch.see(now, nodes)
        assert watch.provider("nebius").failing is None
        assert watch.breaker("nebius").closed
        assert watch.unhealthy("nebius") == {}


@often
@given(
    st.dictionaries(st.sampled_from(("a1", "a2", "n1", "n2", "x1")), st.floats(25, 1e6), min_size=1),
    READY,
    st.booleans(),
)
def test_where_all_are_silent_the_pool_freezes_and_nothing_changes(
    ages: dict[str, float], ready: str, was_sick: bool
) -> None:
    before = {"n1": NodeFault(Reason.NODE_UNKNOWN, "", NOW - 500, unhealthy=True)} if was_sick else {}
    breaker = Breaker(OPEN, Reason.PROVIDER_SILENT, NOW - 500, NOW - 400, 2)
    watch = Watch(pool(), pool_state(node_faults=before, breakers={"nebius": breaker}))
    nodes = [node("a1"), node("a2", ready=ready), node("n1", ready=ready), node("n2")]
    found = watch.see(0, nodes, [pod("p")], heartbeats={name: NOW - age for name, age in ages.items()})
    assert found.all_silent
    assert dict(found.health.nodes) == before
    assert watch.breaker("nebius") == breaker
    assert watch.breaker("aws").closed


# -- from one state of a breaker to the next

WELL = ProviderHealth(known=True)
RECOVERING = ProviderHealth(failing=Reason.PROVIDER_UNHEALTHY, known=True)
FAILING = ProviderHealth(failing=Reason.PROVIDER_UNHEALTHY, known=True, troubled=True)
PERHAPS = ProviderHealth(known=True, troubled=True)

signs = st.builds(
    BreakerInput,
    health=st.sampled_from((WELL, WELL, WELL, RECOVERING, FAILING, PERHAPS, ProviderHealth())),
    drained=st.sampled_from((False, False, False, False, True)),
    not_bound=st.sampled_from((0, 0, 0, 1, 3)),
    node=st.sampled_from(("n1", "n1", "n2", "")),
    ready=st.booleans(),
    tried=st.booleans(),
    failing=st.sampled_from((False, False, True)),
    # A first pod that is ready has been bound.
).filter(lambda sign: sign.tried or not sign.ready)
stories = st.lists(st.tuples(steps, signs, st.sampled_from((False, False, False, True))), max_size=30)
POOL = pool(health={"clearSeconds": 60, "breaker": {"backoffSeconds": 100, "maxBackoffSeconds": 350}})
SPEC = POOL.spec.health


NEVER_FAILED: Step = (Breaker(), BreakerTimers())


def stepped(one: Step, seen: BreakerInput, now: float, *, held: bool) -> Step:
    return step(*one, seen, BreakerRules(SPEC, "inference/nebius"), now, held=held)


@often
@given(stories)
def test_it_never_goes_on_before_its_time_nor_while_something_is_wrong(
    story: list[tuple[float, BreakerInput, bool]],
) -> None:
    step_before: Step = NEVER_FAILED
    now = well_since = NOW
    for passed, seen, held in story:
        now += passed
        if seen.health.troubled:
            well_since = now
        one, (after, _) = step_before[0], (step_after := stepped(step_before, seen, now, held=held))
        if after.state is HALF_OPEN and one.state is not HALF_OPEN:
            assert one.state is OPEN
            assert not seen.drained
            assert seen.health.failing is None
            assert seen.node
            if one.reason is not Reason.DRAINED:
                assert one.retry_at is not None
                assert now >= one.retry_at
                assert now >= well_since + SPEC.clear_seconds
        if after.state is CLOSED and one.state is not CLOSED:
            assert one.state is HALF_OPEN
            assert seen.ready or now >= one.since + SPEC.clear_seconds * (2 if seen.tried else 1)
            assert after.failures == (0 if seen.ready else one.failures)
            assert (after.reason, after.retry_at) == (None, None)
        if after.state is OPEN and one.state is not OPEN:
            assert seen.drained or not held
            assert after.failures == one.failures + (after.reason is not Reason.DRAINED)
        step_before = step_after


@often
@given(stories)
def test_each_time_it_opens_without_having_proved_itself_it_stays_open_for_longer_up_to_the_longest(
    story: list[tuple[float, BreakerInput, bool]],
) -> None:
    step_before, now, longest = NEVER_FAILED, NOW, 0.0
    for passed, seen, held in story:
        now += passed
        one, (after, _) = step_before[0], (step_after := stepped(step_before, seen, now, held=held))
        if after.retry_at is not None and after.retry_at != one.retry_at:
            time = after.retry_at - after.since
            # The status holds milliseconds.
            assert longest <= time + 1e-3
            assert time <= SPEC.breaker.max_backoff_seconds + 1e-3
            longest = time
        if after.closed and not after.failures:
            longest = 0.0
        step_before = step_after


@often
@given(stories, st.integers(0, 29))
def test_another_leader_goes_on_from_the_status_and_never_further_than_the_one_before_would(
    story: list[tuple[float, BreakerInput, bool]], restart: int
) -> None:
    rank = {OPEN: 0, HALF_OPEN: 1, CLOSED: 2}
    steps_of_one = steps_of_other = NEVER_FAILED
    now = NOW
    for index, (passed, seen, held) in enumerate(story):
        now += passed
        steps_of_one = stepped(steps_of_one, seen, now, held=held)
        steps_of_other = stepped(steps_of_other, seen, now, held=held)
        if index == restart:
            steps_of_other = read_back(steps_of_other[0]), BreakerTimers()
            assert steps_of_other[0] == rounded(steps_of_one[0])
        one, other = steps_of_one[0], steps_of_other[0]
        if other.state is not one.state:
            assert rank[other.state] < rank[one.state]
            return
        if one.reason is Reason.DRAINED and other.reason is not Reason.DRAINED:
            # Nothing but the drain keeps the first leader's open; the other waits for its own timer to know that.
            return
        assert other.failures == one.failures


def read_back(one: Breaker) -> Breaker:
    """The breaker as another leader reads it from the status."""
    written = {
        "state": one.state.value,
        "reason": (one.reason or ""),
        "since": stamp(one.since) if one.since else None,
        "retryAt": None if one.retry_at is None else stamp(one.retry_at),
        "failures": one.failures,
        "node": one.node,
    }
    status = {"providers": [{"name": "nebius", "breaker": {k: v for k, v in written.items() if v is not None}}]}
    of: ComputePool = pool(status=status)
    return recorded_in(of).breakers.get("nebius", Breaker())


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def rounded(one: Breaker) -> Breaker:
    """Times in the status are to the millisecond."""
    return msgspec.structs.replace(one, retry_at=None if one.retry_at is None else int(one.retry_at * 1000) / 1000)


# -- the whole assessment


STATES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {},
    {"ready": "Unknown"},
    {"ready": "False"},
    {"capacity": 16},
    {"cordoned": True},
)
AGES = st.sampled_from((0, 30, 90, 299))
RUNNING = st.tuples(st.sampled_from(("a0", "n0", "c1")), AGES, st.booleans())


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, Any]:
    """What one pass sees of two nodes of each provider: faults, silence, new pods, pods that wait, failures."""
    nodes = [node(f"{of}{index}", **draw(st.sampled_from(STATES))) for of in "anc" for index in range(2)]
    last_seen = {member.name: NOW - draw(st.sampled_from((0, 0, 0, 20, 400))) for member in nodes}
    running = [
        pod(f"p{index}", on=on, created=NOW - age, ready=ready, failing=not ready and age < 50)
        for index, (on, age, ready) in enumerate(draw(st.lists(RUNNING, max_size=3)))
    ]
    waiting = [
        pod(f"w{index}", sent=[("nebius", NOW - age)]) for index, age in enumerate(draw(st.lists(AGES, max_size=3)))
    ]
    failed = draw(st.lists(st.tuples(st.sampled_from(("a0", "n1")), AGES), max_size=4))
    failures = tuple(Failure(f"f{i}", on, "web", NOW - age, refused=True) for i, (on, age) in enumerate(failed))
    return {"nodes": nodes, "pods": [*running, *waiting], "heartbeats": last_seen, "failures": failures}


def breakers() -> st.SearchStrategy[Breaker | Step]:
    opened = Breaker(OPEN, Reason.PROVIDER_UNHEALTHY, NOW - 100, NOW + 20, 1)
    tried = Breaker(HALF_OPEN, Reason.PROVIDER_SILENT, NOW - 50, failures=2, node="n0")
    return st.sampled_from(
        (
            Breaker(),
            opened,
            (msgspec.structs.replace(opened, retry_at=NOW - 10), BreakerTimers(clear_since=NOW - 30)),
            Breaker(OPEN, Reason.DRAINED, NOW - 50),
            tried,
            (tried, BreakerTimers(proving_since=NOW - 5)),
        )
    )


@settings(often, max_examples=60)
@given(
    st.lists(scenes(), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(("aws", "nebius", "crusoe")), breakers()),
    st.booleans(),
    st.floats(0, 0.999),
)
def test_before_the_time_to_recheck_at_no_verdict_changes(
    story: list[dict[str, Any]], before: dict[str, Breaker | Step], fitted: bool, share: float
) -> None:
    fitting = {(f"uid-default-w{index}", "nebius"): NOW - 40 for index in range(3)} if fitted else {}
    watch = Watch(pool(health={"clearSeconds": 60}), pool_state(breakers=before, fitting=fitting))
    last = states(watch.state.recorded.breakers)
    for index, scene in enumerate(story):
        last = states(watch.state.recorded.breakers)
        watch.see(index - len(story) + 1, **scene)
    first, again = verdicts(watch), soonest(NOW, (watch.found.recheck_at, next_silent(watch.pool, story[-1])))
    if any(last.get(name, CLOSED) is not one for name, one in states(watch.found.breakers.of).items()):
        # What is seen counts for its new state, which is looked at soon.
        assert again is not None
        assert again <= NOW + 1
        return
    later = share * (3600 if again is None else again - NOW)
    watch.see(later, **story[-1])
    assert verdicts(watch) == first


def next_silent(of: ComputePool, scene: dict[str, Any]) -> float | None:
    """When the next node falls silent: that is news for a pass, not a time that it has to know."""
    last_heard, seconds = scene["heartbeats"], of.spec.health.silent_seconds
    return silence_of(last_heard, 0.0, seconds, NOW).recheck_at


def states(of: Mapping[str, Breaker]) -> dict[str, BreakerState]:
    return {name: one.state for name, one in of.items()}


def verdicts(watch: Watch) -> object:
    """All that others act on."""
    found = watch.found
    return (
        {
            name: (sorted(health.unhealthy), health.failing, health.known)
            for name, health in found.health.providers.items()
        },
        {
            name: (breaker.state, breaker.since, breaker.node, breaker.failures)
            for name, breaker in found.breakers.of.items()
        },
        {supply.provider.name: [info.node.name for info in supply.usable] for supply in found.supplies},
        (found.exceeded, found.all_silent, found.breakers.not_bound),
    )
