"""What the admission policy gives to pods as they are created.

One provider at a time: the most preferred that has room, so that the scheduler can't choose a less preferred one.
Invariant 3: a provider with maxAccelerators is never admitted to, nor any while the pool has a budget, as nobody counts
at admission. Nor is one whose breaker is not closed. While such a one is on trial, and preferred to what would be
admitted to, nobody is admitted until it has its first pod: all would pass it by, and it could never prove itself.
"""

from computepool.assess.targets import Target
from computepool.decide.plan import Admission
from computepool.decide.room import Room
from computepool.model.api import AdmissionMode, ComputePool, Mode


def admission_of(
    pool: ComputePool,
    room: Room,
    *,
    saturated: bool | None,
    contested: bool,
    before: str,
) -> Admission:
    """Return what new pods get; closed unless the pool's mode and saturation open it.

    `contested`: an older pool keeps pods that this pool selects too. The policy can't tell those apart, so a contested
    pool admits nobody and works by patching alone. `before`: the provider admitted to so far.
    """
    if not _open(pool, saturated) or contested or pool.spec.budget is not None:
        return Admission()
    chosen = _choose(room, before)
    if chosen is None:
        return Admission()
    preference = pool.spec.providers[0].node_selector.compiled().requirements
    return Admission(chosen.name, chosen.tolerations, preference)


def _open(pool: ComputePool, saturated: bool | None) -> bool:
    mode = pool.spec.admission.mode
    if pool.spec.mode is Mode.OBSERVE or mode is AdmissionMode.OFF:
        return False
    return mode is AdmissionMode.ALWAYS or saturated is True


def _choose(room: Room, before: str) -> Target | None:
    unlimited = [target for target in room.standbys if target.limit is None and room.closed(target)]
    for target in room.standbys:
        if room.wants_canary(target):
            return None
        if target in unlimited and room.has_room(target):
            return target
    # Nobody has room: what stands may stand, a status that flickers with every last place helps nobody.
    return next((target for target in unlimited if target.name == before), None)
