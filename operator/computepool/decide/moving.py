"""Which running pods are moved in this pass, by whichever of the three ways, after everything that waits had its turn.

Failover first: what fails does not wait for what is merely better elsewhere. While too many providers have failed at
once nothing is moved at all.
"""

from collections.abc import Iterable, Sequence

import msgspec

from computepool.assess.assessment import Assessment
from computepool.assess.fit import label_keys
from computepool.decide.budget import Purse
from computepool.decide.failback import fail_back, homecomers
from computepool.decide.failover import fail_over, troubled_uses
from computepool.decide.flights import FLIGHT_SECONDS, Flights
from computepool.decide.governor import Governor
from computepool.decide.movable import Dwell, moved_before, unknown_since
from computepool.decide.movement import Movement
from computepool.decide.plan import Move, Stay
from computepool.decide.relapses import Relapses
from computepool.decide.reschedule import make_room
from computepool.decide.room import Room
from computepool.model.api import FailbackPolicy, Mode, OnExhausted, ReschedulePolicy
from computepool.model.snapshot import NodeUse, Pod, Snapshot
from computepool.model.state import PoolState


class Moved(msgspec.Struct, frozen=True):
    """What was decided about running pods."""

    room: Room
    """What is left with the moves' places taken."""
    state: PoolState
    """The state before, with what concerns moves brought up to date."""
    moves: tuple[Move, ...] = ()
    stays: tuple[Stay, ...] = ()
    stays_left_out: int = 0
    look_again: float | None = None


def moved_by(
    snapshot: Snapshot,
    assessment: Assessment,
    state: PoolState,
    room: Room,
    flights: Flights,
    purse: Purse,
    stuck: Sequence[Pod],
    now: float,
) -> Moved:
    """Decide all moves of a pass. `stuck`: waiting pods that can only run on the primary, and have no room there."""
    before = moved_before(snapshot, state)
    unknown = unknown_since(snapshot, state.unknown_since, now)
    well = assessment.primary.breaker.closed and assessment.saturation.saturated is False
    stable = (now if state.stable_since is None else state.stable_since) if well else None
    governor = Governor(snapshot, flights, state.recent_moves, now)
    dwell = Dwell(snapshot, float(snapshot.pool.spec.failback.min_dwell_seconds), before, now)
    relapses = Relapses(snapshot, state.relapses, now)
    movement = Movement(snapshot, assessment, room, flights, governor, dwell, now)
    if not assessment.exceeded:
        fail_over(movement, unknown)
        make_room(movement, stuck)
        fail_back(movement, purse, relapses, stable)
    moves = tuple(movement.moves)
    # Who only observes moves nobody: what it would do counts against no limit.
    begun = () if snapshot.pool.spec.mode is Mode.OBSERVE else moves
    movement.stays.later(_kept_until(flights))
    return Moved(
        room=movement.room,
        state=msgspec.structs.replace(
            state,
            stable_since=stable,
            moved_before=before,
            unknown_since=unknown,
            relapses=relapses.known(),
            recent_moves=governor.recorded(begun),
        ),
        moves=moves,
        stays=tuple(movement.stays.listed),
        stays_left_out=movement.stays.left_out,
        look_again=movement.stays.look_again,
    )


def moving_keys(snapshot: Snapshot, assessment: Assessment) -> frozenset[str]:
    """Return every node label that the selectors of pods read that this pass may move."""
    name = snapshot.pool.name
    shares = (use.shares.get(name) for use in _sources(snapshot, assessment) if use.shares)
    moving = [one.pod for one in snapshot.moving]
    return label_keys((*moving, *(pod for share in shares if share is not None for pod in share.members)))


def _sources(snapshot: Snapshot, assessment: Assessment) -> Iterable[NodeUse]:
    spec = snapshot.pool.spec
    yield from troubled_uses(assessment)
    if spec.reschedule.policy is not ReschedulePolicy.NEVER:
        yield from assessment.primary.nodes
    returns = spec.budget is not None and spec.budget.on_exhausted is OnExhausted.RETURN
    if returns or spec.failback.policy is not FailbackPolicy.NEVER:
        yield from homecomers(assessment.supplies)


def _kept_until(flights: Flights) -> float | None:
    """Return when the first place that is kept for a replacement is given up, as far as that is known."""
    return min((one.at + FLIGHT_SECONDS for one in flights.unseen if not one.unanswered), default=None)
