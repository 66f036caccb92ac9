"""One pass, top to bottom: a snapshot and its assessment to a plan.

1. Freeze where the view can't be trusted.
2. Take the places of pods sent on before, other pools' included, and of those being moved.
3. Walk the overflow over the standbys, in order of priority and age.
4. Move running pods: off what fails, to make room, home.
5. Open or close admission.
6. Quarantine what fails, unless that is held back.
7. Correct the labels of bound pods, once nothing is left to burst.
8. Say when to look again.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from computepool.assess.assessment import Assessment
from computepool.assess.clock import brought_back
from computepool.assess.overflow import Hold, Overflow, in_order
from computepool.assess.supply import Supply
from computepool.assess.targets import in_preference
from computepool.decide.admission import admission_of
from computepool.decide.budget import purse_of
from computepool.decide.flights import flights_of
from computepool.decide.moving import moved_by, moving_keys
from computepool.decide.place import Placement
from computepool.decide.plan import Mark, Plan
from computepool.decide.quarantine import quarantine_of
from computepool.decide.room import Room
from computepool.model.api import Placement as PlacementPolicy
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import PoolState, Saturation

NOTHING_FITS: Final[Mapping[tuple[str, str], float]] = MappingProxyType({})
NOTHING_UNKNOWN: Final[Mapping[str, float]] = MappingProxyType({})
RECHECK_SECONDS = 2.0
"""Between looks at a view that is not current: that it is current again shows in no change."""


def decide(snapshot: Snapshot, assessment: Assessment, state: PoolState, now: float) -> Plan:
    """Return what is to be done. `state` is what the pass before recorded; `now` is in seconds since the epoch."""
    state = brought_back(state, snapshot.pool, now)
    frozen = _frozen(snapshot, assessment)
    if frozen:
        holds = tuple(Hold(pod, Reason.FROZEN) for pod in snapshot.waiting)
        again = now + RECHECK_SECONDS if snapshot.stale else assessment.look_again
        return Plan(state=_kept(state, assessment), holds=holds, frozen=frozen, look_again=again)
    flights = flights_of(snapshot, state, now)
    purse = purse_of(snapshot, assessment.supplies, state.spend, now)
    targets = tuple(supply.target for supply in assessment.supplies)
    order = in_preference(targets, cheapest=snapshot.pool.spec.placement is PlacementPolicy.CHEAPEST)
    keys = assessment.label_keys | moving_keys(snapshot, assessment)
    room = Room(snapshot, assessment, order, purse, flights, keys, now)

    placement = Placement(room, assessment, snapshot.in_flight, flights, state.fitting, now)
    placement.reserve_foreign(snapshot.foreign)
    onward = placement.reserve(assessment.demand.sent)
    placement.keep(flights.unseen)
    for overflow in _queue((*onward, *assessment.demand.overflow)):
        placement.walk(overflow)
    moved = moved_by(snapshot, assessment, state, room, flights, purse, placement.stuck, now)
    admission = admission_of(
        snapshot.pool,
        moved.room,
        saturated=assessment.saturation.saturated,
        contested=snapshot.contested > 0,
        before=state.admitting,
    )
    holds = (*assessment.demand.held, *placement.holds)
    verdicts = msgspec.structs.replace(
        moved.state,
        saturation=assessment.saturation,
        fitting={**assessment.demand.fitting, **placement.fitting},
        admitting=admission.provider,
        spend=purse.spend,
    )
    untils = (*(hold.until for hold in holds), *(one.until for one in assessment.demand.overflow))
    return Plan(
        state=_with_health(verdicts, assessment),
        bursts=tuple(placement.bursts),
        holds=holds,
        marks=() if placement.bursts else marks_of(snapshot.pool.name, assessment.supplies),
        admission=admission,
        moves=moved.moves,
        stays=moved.stays,
        stays_left_out=moved.stays_left_out,
        exhausted=moved.room.short or purse.over > 0,
        quarantine=None if assessment.exceeded else quarantine_of(assessment, room.resource),
        held_back=assessment.exceeded,
        look_again=_soonest([assessment.look_again, moved.look_again, purse.look_again, *untils], now),
    )


def marks_of(pool: str, supplies: Iterable[Supply]) -> tuple[Mark, ...]:
    """Return the bound pods whose label does not say where they run."""
    marks = []
    for supply in supplies:
        where = "" if supply.target.primary else supply.target.name
        for use in supply.nodes:
            share = use.shares.get(pool)
            if share is not None and share.burst_labels != frozenset({where}):
                marks += [Mark(pod, where) for pod in share.members if pod.burst != where and pod.deleting is None]
    return tuple(marks)


def _frozen(snapshot: Snapshot, assessment: Assessment) -> str:
    """Invariant 4: missing or stale data freezes; it never counts as pressure or as health."""
    if snapshot.stale or assessment.blind:
        return snapshot.stale or assessment.blind
    if not assessment.primary.known and assessment.primary.breaker.closed:
        # One that has failed, or is drained, was known, and may lose its nodes for that very reason.
        name = assessment.primary.target.name
        return (
            f"no node matches the nodeSelector of the primary {name!r}: check its labels, "
            "or set capacity.type to OnDemand if its nodes are made on demand"
        )
    return ""


def _kept(state: PoolState, assessment: Assessment) -> PoolState:
    """Return what stands while nothing may be decided: the verdicts of before, and what counts for limits.

    Every timer of saturation and of places starts anew. Health and breakers are the assessment's, which keeps them as
    they were where nothing can be seen.
    """
    verdict = Saturation(state.saturation.saturated, state.saturation.reason)
    return _with_health(
        msgspec.structs.replace(
            state, saturation=verdict, fitting=NOTHING_FITS, stable_since=None, unknown_since=NOTHING_UNKNOWN
        ),
        assessment,
    )


def _with_health(state: PoolState, assessment: Assessment) -> PoolState:
    return msgspec.structs.replace(
        state,
        sick=assessment.health.nodes,
        joined=assessment.health.joined,
        breakers=assessment.breakers,
        unbound=assessment.unbound,
        bound=assessment.bound,
    )


def _queue(overflow: Iterable[Overflow]) -> list[Overflow]:
    by_uid = {one.pod.uid: one for one in overflow}
    return [by_uid[pod.uid] for pod in in_order(one.pod for one in by_uid.values())]


def _soonest(times: Iterable[float | None], now: float) -> float | None:
    # A time that is over has had its look: this pass.
    return min((time for time in times if time is not None and time > now), default=None)
