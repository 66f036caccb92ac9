"""What the admission policy gives to pods as they are created.

Admission lists a single provider: the most preferred provider that has room, so that the scheduler can't choose a less
preferred one. Invariant 3: it never lists a provider with maxAccelerators, nor any provider while the pool has a
budget, because nothing is counted at admission. Nor does it list a provider whose breaker is not closed. While a
preferred provider is half-open, admission stays closed until that provider has its first pod: otherwise all new pods
would pass it by, and it could never prove itself.
"""

from computepool.assess.capacity.providers import Provider
from computepool.decide.account.account import Account
from computepool.decide.context import Context
from computepool.decide.plan import Admission
from computepool.model.api import AdmissionMode, Mode


def admission_of(context: Context, account: Account) -> Admission:
    """Return what new pods get; closed unless the pool's mode and saturation open it."""
    # Where an older pool keeps pods that this pool selects too, the policy could not tell them apart.
    if not _is_open(context) or context.snapshot.conflicts or context.spec.budget is not None:
        return Admission()
    chosen = _choose(context, account)
    if chosen is None:
        return Admission()
    preference = context.primary.selector.requirements
    return Admission(chosen.name, chosen.tolerations, preference)


def _is_open(context: Context) -> bool:
    mode = context.spec.admission.mode
    if context.spec.mode is Mode.OBSERVE or mode is AdmissionMode.OFF:
        return False
    return mode is AdmissionMode.ALWAYS or context.assessment.saturation.saturated is True


def _choose(context: Context, account: Account) -> Provider | None:
    unlimited = [target for target in context.standbys if target.limit is None and account.is_closed(target)]
    for target in context.standbys:
        if account.wants_canary(target):
            return None
        if target in unlimited and account.has_room(target):
            return target
    # No provider has room: what stands may stand, because a status that flickers with every last place helps nobody.
    return next((target for target in unlimited if target.name == context.state.recorded.admitting), None)
