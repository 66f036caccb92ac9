"""The tolerations that the admission policy adds to new pods.

Admission lists only the most preferred provider that has room, because the scheduler could choose any provider in a
list. The provider's breaker is closed. Invariant 3: the API server counts nothing, so the provider has no
maxAccelerators and the pool has no budget. While a preferred provider is half-open, admission stays closed until that
provider has its canary. Otherwise all new pods would go elsewhere and the provider would never get one. Admission also
stays closed while a workload is held off that provider: the policy would send the workload's pods there all the same.
"""

from computepool.assess.capacity.providers import Provider
from computepool.decide.account.capacity_account import Account
from computepool.decide.context import Context
from computepool.decide.plan import Admission
from computepool.model.api import AdmissionMode, Mode


def admission_of(context: Context, account: Account) -> Admission:
    """Return the tolerations for new pods; none unless the mode, saturation or a forecast opens admission."""
    # If an older pool also selects pods of this pool, the policy can't tell which pool a new pod belongs to.
    if not _is_open(context) or context.snapshot.conflicts or context.spec.budget is not None:
        return Admission()
    provider = _choose(context, account)
    if provider is None:
        return Admission()
    return Admission(provider.name, provider.tolerations, context.primary.selector.requirements)


def _is_open(context: Context) -> bool:
    mode = context.spec.admission.mode
    if context.spec.mode is Mode.OBSERVE or mode is AdmissionMode.OFF:
        return False
    assessment = context.assessment
    return (
        mode is AdmissionMode.ALWAYS or assessment.saturation.saturated is True or assessment.forecast.opens_admission
    )


def _choose(context: Context, account: Account) -> Provider | None:
    unlimited = [
        provider for provider in context.standbys if provider.limit is None and account.breaker_is_closed(provider)
    ]
    withheld = context.assessment.breakers.hold_offs.admission_withheld
    for provider in context.standbys:
        if account.wants_canary(provider) or (provider in unlimited and provider.name in withheld):
            return None
        if provider in unlimited and account.has_room(provider):
            return provider
    # No provider has room. Keep the present choice, because each change of the last free place would write the status.
    return next((provider for provider in unlimited if provider.name == context.state.recorded.admitting), None)
