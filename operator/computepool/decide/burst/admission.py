"""The tolerations that the admission policy adds to new pods.

Admission lists only the most preferred provider that has room, because the scheduler could choose any provider in a
list. The provider's breaker is closed. Invariant 3: the API server counts nothing, so the provider has no
maxAccelerators and the pool has no budget.

The order of the providers holds at admission too. A standby that takes pods, but can't be listed, keeps admission
closed to all less preferred standbys: otherwise new pods would pass by it. Meanwhile the operator patches pending pods
in order. Such a standby has maxAccelerators, or is half-open and waits for its canary, or a workload is held off it:
the policy would send the workload's pods there all the same. It takes pods if the operator could send it one more pod
of any kind that the pool has.

The choice must not change with each last place that is taken and given back, because each change writes the status. So
the present provider stays while no more preferred standby takes pods and all others have no room or can't be listed.
A hold begins at once, but ends only after nothing has called for it for SETTLED_SECONDS, unless a more preferred
standby takes over or the standby's breaker lets no pod in.

The replacement of a moved pod is a new pod too. Admission must not send it past the standby that it is meant for, which
may have given its last place to it: the move would come to nothing.
"""

from collections.abc import Collection
from typing import Final

from computepool.assess.capacity.providers import Provider
from computepool.decide.account.capacity_account import Account
from computepool.decide.context import Context
from computepool.decide.plan import Admission
from computepool.model.api import AdmissionMode, Mode
from computepool.model.reasons import Reason

SETTLED_SECONDS: Final = 10.0


def admission_of(context: Context, account: Account, targets: Collection[str]) -> Admission:
    """Return the tolerations for new pods; none unless the mode, saturation or a forecast opens admission.

    `targets`: the providers that replacements of moved pods are meant for, which are not seen yet.
    """
    # If an older pool also selects pods of this pool, the policy can't tell which pool a new pod belongs to.
    if not _is_open(context) or context.snapshot.conflicts or context.spec.budget is not None:
        return Admission()
    found = _first_choice(context, account)
    return _kept_hold(context, account, found) or _not_past_targets(context, account, found, targets)


def hold_ends_at(admission: Admission) -> float | None:
    """Return when a hold ends that nothing calls for any more; None if there is no such hold."""
    return None if admission.over_since is None else admission.over_since + SETTLED_SECONDS


def _is_open(context: Context) -> bool:
    mode = context.spec.admission.mode
    if context.spec.mode is Mode.OBSERVE or mode is AdmissionMode.OFF:
        return False
    assessment = context.assessment
    return (
        mode is AdmissionMode.ALWAYS or assessment.saturation.saturated is True or assessment.forecast.opens_admission
    )


def _first_choice(context: Context, account: Account) -> Admission:
    """Return what the order of the standbys calls for now."""
    standbys = context.standbys
    listed = [by for by in standbys if _why_unlisted(context, account, by) is None]
    present = next((by for by in listed if by.name == context.state.recorded.admitting), None)
    for position, provider in enumerate(standbys):
        if provider in listed:
            if account.has_room(provider):
                return _open_to(context, provider)
        elif account.takes_any(context.next_pods, provider):
            if present in standbys[:position]:
                break
            later = [by for by in standbys[position:] if by in listed]
            holds_already = context.state.recorded.held_by == provider.name
            if present is None and not holds_already and not any(map(account.has_room, later)):
                return Admission()
            return Admission(held_by=provider.name, held_because=_why_unlisted(context, account, provider))
    # No provider has room that could be listed.
    return Admission() if present is None else _open_to(context, present)


def _kept_hold(context: Context, account: Account, found: Admission) -> Admission | None:
    """Return the hold of the last pass if it stays, although nothing calls for it at the moment."""
    standbys = {standby.name: standby for standby in context.standbys}
    holder = standbys.get(context.state.recorded.held_by)
    if holder is None or account.blocked(holder) is not None:
        return None
    names, why = list(standbys), _why_unlisted(context, account, holder)
    turns_to = found.provider or found.held_by
    if why is None or turns_to in names[: names.index(holder.name) + 1]:
        return None
    before = context.state.memory.hold_over_since
    since = context.now if before is None else min(before, context.now)
    if context.now >= since + SETTLED_SECONDS:
        return None
    return Admission(held_by=holder.name, held_because=why, over_since=since)


def _not_past_targets(context: Context, account: Account, found: Admission, targets: Collection[str]) -> Admission:
    """Open to the standby that replacements are meant for, or close, instead of opening to a less preferred standby."""
    names = [standby.name for standby in context.standbys]
    before = names.index(found.provider) if found.provider else 0
    awaiting = [standby for standby in context.standbys[:before] if standby.name in targets]
    if not awaiting:
        return found
    is_sole = len(awaiting) == 1 and _why_unlisted(context, account, awaiting[0]) is None
    return _open_to(context, awaiting[0]) if is_sole else Admission()


def _open_to(context: Context, provider: Provider) -> Admission:
    return Admission(provider.name, provider.tolerations, context.primary.selector.requirements)


def _why_unlisted(context: Context, account: Account, provider: Provider) -> Reason | None:
    """Return why admission may not list the provider, whatever room it has; None if it may."""
    if not account.breaker_is_closed(provider):
        return account.blocked(provider) or Reason.CANARY_UNDER_WAY
    if provider.limit is not None:
        return Reason.AT_MAX_ACCELERATORS
    withheld = context.assessment.breakers.hold_offs.admission_withheld
    return Reason.WORKLOAD_BACK_OFF if provider.name in withheld else None
