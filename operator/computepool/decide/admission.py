"""What the admission policy gives to pods as they are created.

One provider at a time: the most preferred that has room, so that the scheduler can't choose a less preferred one.
Invariant 3: a provider with maxAccelerators is never admitted to, as nobody counts at admission.
"""

from computepool.assess.targets import Target
from computepool.decide.place import Placement
from computepool.decide.plan import Admission
from computepool.model.api import AdmissionMode, ComputePool, Mode
from computepool.model.selectors import compile_selector


def admission_of(
    pool: ComputePool,
    order: tuple[Target, ...],
    placement: Placement,
    *,
    saturated: bool | None,
    contested: bool,
    before: str,
) -> Admission:
    """Return what new pods get; closed unless the pool's mode and saturation open it.

    `contested`: an older pool keeps pods that this pool selects too. The policy can't tell those apart, so a contested
    pool admits nobody and works by patching alone. `before`: the provider admitted to so far.
    """
    if not _open(pool, saturated) or contested:
        return Admission()
    chosen = _choose(order, placement, before)
    if chosen is None:
        return Admission()
    preference = compile_selector(pool.spec.providers[0].node_selector).requirements
    return Admission(chosen.name, chosen.tolerations, preference)


def _open(pool: ComputePool, saturated: bool | None) -> bool:
    mode = pool.spec.admission.mode
    if pool.spec.mode is Mode.OBSERVE or mode is AdmissionMode.OFF:
        return False
    return mode is AdmissionMode.ALWAYS or saturated is True


def _choose(order: tuple[Target, ...], placement: Placement, before: str) -> Target | None:
    unlimited = [target for target in order if target.limit is None]
    for target in unlimited:
        if placement.has_room(target):
            return target
    # Nobody has room: what stands may stand, a status that flickers with every last place helps nobody.
    return next((target for target in unlimited if target.name == before), None)
