"""The invariants of every plan, in any cluster, compared with a brute-force model."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from computepool.assess.demand.overflow import Hold
from computepool.decide.plan import Admission, Burst, Plan
from computepool.model.accelerators import request_of
from computepool.model.api import Mode, ProviderSpec
from computepool.model.cluster import Pod, node_info
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState
from tests.builders import GPU, NOW, changed
from tests.unit.core.clusters import Case, cases
from tests.unit.core.oracle import Oracle, placed, since_fitting
from tests.unit.core.passes import decided

often = settings(max_examples=80)
rarely = settings(often, max_examples=40)


def rank(pod: Pod) -> tuple[int, float, str, str]:
    """The place in the queue."""
    return (-pod.priority, pod.created, pod.namespace, pod.name)


def ahead(pods: Iterable[Pod], of: Pod) -> list[Pod]:
    return [pod for pod in pods if rank(pod) < rank(of)]


# -- invariant 1


@often
@given(cases())
def test_no_pod_is_burst_that_fits_now_on_a_preferred_provider(case: Case) -> None:
    """Each preferred provider can be packed with the pods that go first so that the burst pod finds no place."""
    truth, plan = Oracle(case.seen), decided(case.seen, case.state)
    for burst in plan.bursts:
        preferred = truth.providers[: [provider.name for provider in truth.providers].index(burst.provider)]
        assert no_room_at_home(truth, plan, burst, case.state), burst
        for standby in preferred[1:]:
            assert not_taken(truth, plan, burst, standby, case.state), (burst, standby.name)


@often
@given(cases())
def test_no_pod_is_burst_where_its_patch_was_refused_just_now(case: Case) -> None:
    truth, plan = Oracle(case.seen), decided(case.seen, case.state)
    for burst in plan.bursts:
        to = next(provider for provider in truth.providers if provider.name == burst.provider)
        assert not truth.is_refused(burst.pod, to), burst


def no_room_at_home(truth: Oracle, plan: Plan, burst: Burst, state: PoolState) -> bool:
    primary = truth.providers[0]
    refused = burst.pod.unschedulable and since_fitting(state.memory.fitting, burst.pod, primary.name) >= 60
    home = [h.pod for h in plan.holds if h.reason is Reason.FITS_ON_PREFERRED and not sent_to(truth, h.pod)]
    if not sent_to(truth, burst.pod):
        before, perhaps = ahead(home, burst.pod), []
    else:
        # Pods that were sent come last at home. They have a place there and on their standby.
        before, perhaps = home, ahead((h.pod for h in plan.holds if sent_to(truth, h.pod)), burst.pod)
    first, then = ([pod.shape for pod in pods] for pods in (before, perhaps))
    return refused or truth.may_find_no_room(burst.pod.shape, primary, first, then)


def sent_to(truth: Oracle, pod: Pod) -> str:
    """The provider to which a pod was sent before this pass, if the pool still has it."""
    in_flight = truth.seen.in_flight.get(pod.uid)
    if in_flight is not None:
        return in_flight.provider
    known = next((provider for provider in truth.providers[1:] if provider.name == pod.burst), None)
    return pod.burst if known is not None and truth.tolerates(pod.shape, known) else ""


def not_taken(truth: Oracle, plan: Plan, burst: Burst, standby: ProviderSpec, state: PoolState) -> bool:
    pod = burst.pod
    earlier = [burst for burst in plan.bursts if burst.provider == standby.name and rank(burst.pod) < rank(pod)]
    if not truth.tolerates(pod.shape, standby):
        if not truth.allows(pod, standby) or truth.is_refused(pod, standby):
            return True
        if such_pods_failed(truth, pod, standby, state):
            return True
        limit = standby.capacity.max_accelerators
        if limit is not None and truth.committed(standby, earlier) + request_of(pod, GPU) > limit * 1000:
            return True
        if standby.capacity.type == "OnDemand":
            return truth.cannot_be_satisfied(pod.shape, standby)
    elif over(truth, pod, standby, state):
        return True
    reserved = [h.pod for h in plan.holds if h.provider == standby.name and h.reason is Reason.AWAITING_SCHEDULER]
    first = [other for other in reserved if sent_to(truth, other) or rank(other) < rank(pod)]
    # A pod that is sent to preempt others takes a place that is not free, and all that is free beside it.
    preempts = [burst.pod for burst in earlier if burst.pod in preempting(plan)]
    placed_earlier = [burst.pod for burst in earlier if burst.pod not in preempts]
    taken = [other.shape for other in (*first, *placed_earlier, *truth.foreign_to(standby))]
    names = [info.node.name for info in truth.nodes_of(standby.name)]
    return any(
        truth.may_find_no_room(pod.shape, standby, taken, given_away=nodes)
        for nodes in product(names, repeat=len(preempts))
    ) or (
        # This proves nothing if other pools' pods are there, or if a patch is under way: such pods may have no place.
        bool(truth.seen.foreign) or any(pod.uid in truth.seen.in_flight for pod in first)
    )


def such_pods_failed(truth: Oracle, pod: Pod, standby: ProviderSpec, state: PoolState) -> bool:
    """Whether a pod with the same needs was not bound there in time: a hold-off, which has tests of its own."""
    sent = (other for other in truth.seen.waiting if other.offered(standby.name) is not None)
    alike = (other for other in sent if needs(other) == needs(pod))
    return any(over(truth, other, standby, state) for other in alike)


def needs(pod: Pod) -> object:
    return pod.shape.requests, pod.shape.node_selector, pod.shape.affinity


def over(truth: Oracle, pod: Pod, standby: ProviderSpec, state: PoolState) -> bool:
    """Whether the pod's time at a provider that it tolerates is over."""
    offered = next((offer.at for offer in pod.offers if offer.provider == standby.name), pod.since)
    timeout = 600 if standby.capacity.type == "OnDemand" else 60
    no_nodes_came = standby.capacity.type == "OnDemand" and NOW - offered >= timeout
    return no_nodes_came or min(since_fitting(state.memory.fitting, pod, standby.name), NOW - offered) >= timeout


# -- invariant 2


@often
@given(cases())
def test_all_pods_sent_or_awaiting_the_scheduler_have_places_at_the_same_time(case: Case) -> None:
    truth, plan = Oracle(case.seen), decided(case.seen, case.state)
    for provider in truth.providers:
        pods = placed(plan, provider.name, in_flight=case.seen.in_flight)
        if provider.capacity.type == "OnDemand":
            pods = [pod for pod in pods if pod not in [burst.pod for burst in plan.bursts]]
        pods = [pod for pod in pods if pod not in preempting(plan)]
        foreign = truth.foreign_to(provider) if provider is not truth.providers[0] else []
        # A single foreign pod gets its place. Of several, the first may take the place of the second.
        shapes = [pod.shape for pod in (*pods, *(foreign if len(foreign) == 1 else ()))]
        assert truth.can_all_be_placed(shapes, provider), provider.name


@often
@given(cases())
def test_all_pods_sent_to_preempt_others_have_places_once_pods_of_lower_priority_are_gone(case: Case) -> None:
    plan = decided(case.seen, case.state)
    for name in {burst.provider for burst in plan.bursts if burst.reason is Reason.SENT_TO_PREEMPT}:
        sent = [burst.pod for burst in plan.bursts if burst.provider == name]
        assert all(pod.priority > 0 for pod in sent if pod in preempting(plan))
        # All running pods of these clusters have priority 0.
        without = tuple(node_info(info.node) for info in case.seen.nodes)
        truth = Oracle(replaced(case.seen, nodes=without))
        standby = next(provider for provider in truth.providers if provider.name == name)
        assert truth.can_all_be_placed([pod.shape for pod in sent], standby)


def preempting(plan: Plan) -> list[Pod]:
    return [burst.pod for burst in plan.bursts if burst.reason is Reason.SENT_TO_PREEMPT]


# -- invariant 3


@often
@given(cases())
def test_no_limit_is_exceeded_whatever_follows_from_a_plan(case: Case) -> None:
    truth, plan = Oracle(case.seen), decided(case.seen, case.state)
    for standby in truth.providers[1:]:
        limit = standby.capacity.max_accelerators
        if limit is not None:
            sent = [burst for burst in plan.bursts if burst.provider == standby.name]
            assert not sent or truth.committed(standby, sent) <= limit * 1000
            assert plan.admission.provider != standby.name


# -- invariant 4


@rarely
@given(cases(), st.booleans())
def test_a_view_that_is_stale_or_shows_no_primary_changes_nothing(case: Case, stale: bool) -> None:
    primary = case.seen.pool.spec.primary
    others = tuple(info for info in case.seen.nodes if info.node.labels["computepool.io/provider"] != primary.name)
    seen = msgspec.structs.replace(case.seen, stale="lost") if stale else replaced(case.seen, nodes=others)
    plan = decided(seen, case.state)
    if not stale and primary.capacity.type == "OnDemand":
        assert not plan.frozen
        return
    assert plan.frozen
    assert (plan.bursts, plan.label_fixes, plan.admission) == ((), (), Admission())
    assert plan.state.recorded.saturated is case.state.recorded.saturated


# -- invariants 7 and 8 within a plan: a pass may run twice, and repeats no action


@often
@given(cases())
def test_no_pod_is_sent_where_it_may_go_already_or_while_a_write_is_under_way(case: Case) -> None:
    truth, plan = Oracle(case.seen), decided(case.seen, case.state)
    for burst in plan.bursts:
        to = next(provider for provider in truth.providers if provider.name == burst.provider)
        assert burst.tolerations
        assert not truth.tolerates(burst.pod.shape, to)
        assert burst.pod.uid not in case.seen.in_flight
        assert not set(burst.tolerations) & set(burst.pod.shape.tolerations)


# -- invariant 9


@often
@given(cases())
def test_every_waiting_pod_is_decided_once_and_no_other_is_touched(case: Case) -> None:
    plan = decided(case.seen, case.state)
    decisions: list[Burst | Hold] = [*plan.bursts, *plan.holds]
    assert sorted(decision.pod.uid for decision in decisions) == sorted(pod.uid for pod in case.seen.waiting)
    known = {provider.name for provider in case.seen.pool.spec.providers}
    for decision in decisions:
        assert isinstance(decision.reason, Reason)
        assert {name for name, _ in decision.rejected} <= known
        assert all(isinstance(reason, Reason) for _, reason in decision.rejected)
    bound = {pod.uid for info in case.seen.nodes for pod in info.pods if request_of(pod, GPU)}
    assert {mark.pod.uid for mark in plan.label_fixes} <= bound


@often
@given(cases())
def test_only_pods_that_may_go_are_sent_and_only_after_their_time(case: Case) -> None:
    truth, plan = Oracle(case.seen), decided(case.seen, case.state)
    pending = case.seen.pool.spec.saturation.pending_seconds
    for burst in plan.bursts:
        pod = burst.pod
        assert (pod.gated, pod.nominated, pod.deleting) == (False, "", None)
        assert truth.allows(pod, next(provider for provider in truth.providers if provider.name == burst.provider))
        at_home = dict(burst.rejected)[truth.providers[0].name]
        for_ever = at_home in (Reason.PINNED, Reason.TAINTED, Reason.TOO_LARGE, Reason.NOT_BOUND_IN_TIME)
        failed = not plan.state.breaker(truth.providers[0].name).closed
        assert for_ever or failed or sent_to(truth, pod) or pod.since + pending <= NOW


# -- values in, values out


@rarely
@given(cases(), st.integers(0, 1000))
def test_a_decision_depends_on_nothing_but_what_is_seen_and_changes_none_of_it(case: Case, seed: int) -> None:
    before = repr(case)
    plan = decided(case.seen, case.state)
    assert repr(case) == before
    assert decided(case.seen, case.state) == plan
    shuffled = random.Random(seed)
    mixed = replaced(
        case.seen,
        nodes=tuple(shuffled.sample(case.seen.nodes, len(case.seen.nodes))),
        waiting=tuple(shuffled.sample(case.seen.waiting, len(case.seen.waiting))),
        foreign=tuple(shuffled.sample(case.seen.foreign, len(case.seen.foreign))),
    )
    again = decided(mixed, case.state)
    assert again.bursts == plan.bursts
    assert sorted(again.holds, key=repr) == sorted(plan.holds, key=repr)
    assert (again.admission, again.recheck_at, again.state) == (plan.admission, plan.recheck_at, plan.state)


@rarely
@given(cases())
def test_observing_decides_the_same_as_enforcing_and_admits_no_pod(case: Case) -> None:
    plans = {}
    for mode in Mode:
        spec = case.seen.pool.spec.model_copy(update={"mode": mode})
        seen = replaced(case.seen, pool=case.seen.pool.model_copy(update={"spec": spec}))
        plans[mode] = decided(seen, case.state)
    assert plans[Mode.OBSERVE].admission == Admission()
    closed = [msgspec.structs.replace(plan, admission=Admission()) for plan in plans.values()]
    states = [changed(plan.state, admitting="", held_by="") for plan in closed]
    assert states[0] == states[1]
    assert closed[0].bursts == closed[1].bursts
    assert closed[0].holds == closed[1].holds


@often
@given(cases(), st.floats(0, 0.999))
def test_before_the_time_to_recheck_at_time_alone_changes_nothing(case: Case, share: float) -> None:
    """A pass without bursts is repeated without changes before its recheck, or an hour later."""
    first = decided(case.seen, case.state)
    if first.bursts:
        return
    assert first.recheck_at is None or first.recheck_at > NOW
    later = NOW + share * (3600 if first.recheck_at is None else first.recheck_at - NOW)
    second = decided(case.seen, first.state, later)
    assert second.bursts == ()
    assert second.label_fixes == first.label_fixes
    assert second.admission == first.admission
    assert second.state.recorded.saturated == first.state.recorded.saturated


def replaced(seen: Snapshot, **fields: object) -> Snapshot:
    return msgspec.structs.replace(seen, **fields)
