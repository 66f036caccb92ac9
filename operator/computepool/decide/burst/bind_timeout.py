"""How long a pod waits for a provider that it tolerates before the operator offers it to the next provider."""

from computepool.assess.capacity.providers import Provider
from computepool.assess.demand.overflow import Hold, fit_since
from computepool.decide.account.capacity_account import AWAITED, EXPECTED, Account, PlaceRequest
from computepool.decide.context import Context
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason


class Waiting:
    """The pods that wait for standbys in one pass.

    `fitting`: since when each pod has had a place, by the pod's uid and the provider's name, in seconds since the
    epoch. The next pass gets it.
    """

    def __init__(self, context: Context, account: Account) -> None:
        """Begin without a waiting pod. `account`: gives the places."""
        self._context = context
        self._account = account
        self.fitting: dict[tuple[str, str], float] = {}
        self._before = context.state.memory.fitting
        self._standbys = {provider.name for provider in context.standbys}

    def at(self, provider: Provider, pod: Pod, offered: float) -> Hold | Reason:
        """Hold the pod for the provider while the pod can still be bound there; else return the reason why it can't.

        The pod's time there runs while it has a place and is not bound, or while the provider has to make a node.
        `offered`: since when the pod may use the provider, in seconds since the epoch.
        """
        if (blocked := self._account.blocked(provider)) is not None:
            return blocked
        now = self._context.now
        since = fit_since(self._before, pod, provider, now)
        due = max(offered, since) + provider.timeout
        if now >= due:
            self.fitting[pod.uid, provider.name] = since
            return self._overdue(pod, provider)
        why = self._account.reserve([PlaceRequest(pod)], provider, EXPECTED)
        if why is None:
            self.fitting[pod.uid, provider.name] = since
            return Hold(pod, Reason.AWAITING_SCHEDULER, provider.name, until=due)
        due = offered + provider.timeout
        starting = now < due and self._account.promise_starting(pod, provider)
        if not starting and (not provider.kind.before_room or why is Reason.PINNED):
            return why
        if now >= due:
            return self._overdue(pod, provider)
        self._account.reserve([PlaceRequest(pod)], provider, AWAITED)
        return Hold(pod, Reason.NODE_STARTING if starting else Reason.AWAITING_NODES, provider.name, until=due)

    def _overdue(self, pod: Pod, provider: Provider) -> Reason:
        self._account.note_overdue(pod, provider)
        return Reason.NOT_BOUND_IN_TIME

    def remember(self, pod: Pod) -> None:
        """Keep the time that the pod has waited for its providers, so that its time never starts anew."""
        for offer in pod.offers:
            since = self._before.get((pod.uid, offer.provider))
            if since is not None and offer.provider in self._standbys:
                self.fitting[pod.uid, offer.provider] = since
