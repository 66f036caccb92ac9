"""How long a pod waits at a provider that it may use already, before it is offered to the next one."""

from computepool.assess.capacity.providers import Provider
from computepool.assess.demand.overflow import Hold, fit_since
from computepool.decide.account.account import AWAITED, EXPECTED, Account, Request
from computepool.decide.context import Context
from computepool.model.cluster import Pod
from computepool.model.reasons import Reason


class Waiting:
    """The pods that wait at standbys in one pass. Since when each has had a place there goes to the next pass."""

    def __init__(self, context: Context, account: Account) -> None:
        """Nobody waits yet."""
        self._context = context
        self._account = account
        self.fitting: dict[tuple[str, str], float] = {}

    def at(self, target: Provider, pod: Pod, offered: float) -> Hold | Reason:
        """Keep the pod at the provider while that may still work out; return why it can't otherwise.

        Its time runs while there is a place that the scheduler does not give it, or nodes that are not made. `offered`:
        since when it may use the provider.
        """
        if (blocked := self._account.blocked(target)) is not None:
            return blocked
        now = self._context.now
        since = fit_since(self._context.state.memory.fitting, pod, target, now)
        due = max(offered, since) + target.timeout
        if now >= due:
            self.fitting[pod.uid, target.name] = since
            return Reason.NOT_BOUND_IN_TIME
        why = self._account.reserve([Request(pod)], target, EXPECTED)
        if why is None:
            self.fitting[pod.uid, target.name] = since
            return Hold(pod, Reason.AWAITING_SCHEDULER, target.name, until=due)
        due = offered + target.timeout
        if not target.kind.before_room or why is Reason.PINNED:
            return why
        if now >= due:
            return Reason.NOT_BOUND_IN_TIME
        self._account.reserve([Request(pod)], target, AWAITED)
        return Hold(pod, Reason.AWAITING_NODES, target.name, until=due)

    def remember(self, pod: Pod) -> None:
        """Keep the time that the pod has had at providers before, so that no provider gets it twice."""
        standbys = {target.name for target in self._context.standbys}
        for offer in pod.offers:
            since = self._context.state.memory.fitting.get((pod.uid, offer.provider))
            if since is not None and offer.provider in standbys:
                self.fitting[pod.uid, offer.provider] = since
