"""The tolerations that the admission policy adds to new pods.

Admission lists only the most preferred provider that has room, because the scheduler could choose any provider in a
list. The provider's breaker is closed. Invariant 3: the API server counts nothing, so the provider has no
maxAccelerators and the pool has no budget.

The order of the providers holds at admission too. A standby that has room, but can't be listed, keeps admission closed
to all less preferred standbys: otherwise new pods would pass by it. Meanwhile the operator patches pending pods in
order. Such a standby has maxAccelerators, or is half-open and waits for its canary, or a workload is held off it: the
policy would send the workload's pods there all the same. A standby that can take no more pods is passed over: it is
full, its maxAccelerators are used up, or its breaker keeps it out of use.
"""

from collections.abc import Sequence

from computepool.assess.capacity.providers import Provider
from computepool.decide.account.capacity_account import Account
from computepool.decide.context import Context
from computepool.decide.plan import Admission
from computepool.model.api import AdmissionMode, Mode
from computepool.model.reasons import Reason


def admission_of(context: Context, account: Account) -> Admission:
    """Return the tolerations for new pods; none unless the mode, saturation or a forecast opens admission."""
    # If an older pool also selects pods of this pool, the policy can't tell which pool a new pod belongs to.
    if not _is_open(context) or context.snapshot.conflicts or context.spec.budget is not None:
        return Admission()
    standbys = context.standbys
    for position, provider in enumerate(standbys):
        if (why := _why_first(context, account, provider)) is not None:
            later = _first_listed(account, standbys[position + 1 :]) or _present(context, account)
            return Admission(held_by=provider.name, held_because=why) if later is not None else Admission()
        if _is_listed(account, provider) and account.has_room(provider):
            return _open_to(context, provider)
    # No provider has room. Keep the present choice, because each change of the last free place would write the status.
    present = _present(context, account)
    return Admission() if present is None else _open_to(context, present)


def _is_open(context: Context) -> bool:
    mode = context.spec.admission.mode
    if context.spec.mode is Mode.OBSERVE or mode is AdmissionMode.OFF:
        return False
    assessment = context.assessment
    return (
        mode is AdmissionMode.ALWAYS or assessment.saturation.saturated is True or assessment.forecast.opens_admission
    )


def _open_to(context: Context, provider: Provider) -> Admission:
    return Admission(provider.name, provider.tolerations, context.primary.selector.requirements)


def _is_listed(account: Account, provider: Provider) -> bool:
    """Say whether admission may list the provider, whatever room it has."""
    return provider.limit is None and account.breaker_is_closed(provider)


def _why_first(context: Context, account: Account, provider: Provider) -> Reason | None:
    """Return why the provider, which can't be listed now, comes before less preferred standbys; None if it does not."""
    if account.wants_canary(provider):
        return Reason.CANARY_UNDER_WAY
    if not account.breaker_is_closed(provider):
        return None
    has_room = account.has_allowance(provider) and account.has_room(provider)
    if provider.limit is not None:
        return Reason.AT_MAX_ACCELERATORS if has_room else None
    withheld = context.assessment.breakers.hold_offs.admission_withheld
    return Reason.WORKLOAD_BACK_OFF if provider.name in withheld else None


def _first_listed(account: Account, providers: Sequence[Provider]) -> Provider | None:
    """Return the first of these providers that admission would open to."""
    return next((by for by in providers if _is_listed(account, by) and account.has_room(by)), None)


def _present(context: Context, account: Account) -> Provider | None:
    """Return the provider that the last pass opened admission to, if it still may be listed."""
    admitting = context.state.recorded.admitting
    return next((by for by in context.standbys if by.name == admitting and _is_listed(account, by)), None)
