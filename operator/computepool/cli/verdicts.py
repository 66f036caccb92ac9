"""The table of `explain`: a verdict on each provider, with the facts that a person would look up next."""

from collections.abc import Iterable
from typing import Final

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.fit import Packer, label_keys
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply, why_not_closed
from computepool.assess.demand.overflow import Hold
from computepool.decide.burst.planner import Verdicts
from computepool.decide.plan import Burst
from computepool.model.accelerators import accelerators_of
from computepool.model.api import Placement, PoolSpec
from computepool.model.cluster import Pod
from computepool.model.quantity import MILLI, whole
from computepool.model.reasons import Reason

Row = tuple[str, Reason, str]
"""A provider, the verdict on it, and the meaning of the verdict."""
_WAITS: Final = frozenset({Reason.BELOW_PENDING_SECONDS, Reason.AWAITING_NODES})
"""Reasons of a pod that may not be sent to any standby yet."""


def verdicts_on(decision: Burst | Hold, survey: Verdicts) -> Verdicts:
    """Return the verdict on each provider about a waiting pod, in order. `survey`: what each provider would say."""
    rejected = dict(decision.rejected)
    chosen = {decision.provider: Reason.CHOSEN if isinstance(decision, Burst) else decision.reason}
    if not survey:
        return tuple((name, reason) for name, reason in (rejected | chosen).items() if name)
    return tuple((name, chosen.get(name) or _plainer(rejected.get(name), verdict)) for name, verdict in survey)


def _plainer(rejected: Reason | None, verdict: Reason) -> Reason:
    """Return the more telling reason: a provider without room has none either once the pod has waited."""
    if rejected is None or (rejected in _WAITS and verdict is not Reason.LESS_PREFERRED):
        return verdict
    return rejected


def rows(pod: Pod, verdicts: Iterable[tuple[str, Reason]], assessment: Assessment, spec: PoolSpec) -> tuple[Row, ...]:
    """Return the table about a pod."""
    listed = tuple(verdicts)
    taken = next((name for name, reason in listed if reason in _TAKES), "")
    facts = _Facts(pod, assessment, spec, taken)
    return tuple(
        (name, reason, " ".join(filter(None, (reason.help, facts.about(name, reason))))) for name, reason in listed
    )


_TAKES: Final = frozenset({Reason.CHOSEN, Reason.AWAITING_SCHEDULER, Reason.AWAITING_NODES, Reason.FITS_ON_PREFERRED})


class _Facts:
    """What is known about the providers of a pool, for the verdicts about one pod."""

    def __init__(self, pod: Pod, assessment: Assessment, spec: PoolSpec, taken: str) -> None:
        """`taken`: the provider that takes the pod; empty if none does."""
        self._pod = pod
        self._assessment = assessment
        self._spec = spec
        self._taken = taken

    def about(self, name: str, reason: Reason) -> str:
        """Return a sentence about a provider that belongs to the verdict on it; empty if there is none."""
        supply = self._assessment.supply(name)
        if supply is None:
            return ""
        match reason:
            case Reason.TAINTED:
                return self._taint(supply)
            case Reason.NODE_STARTING:
                return _startup_taint(supply)
            case Reason.NO_ROOM | Reason.INSUFFICIENT_CAPACITY:
                return self._room(supply)
            case Reason.PROVIDER_UNAVAILABLE | Reason.CANARY_UNDER_WAY if not supply.breaker.closed:
                return f"Its breaker is {supply.breaker.state}: {why_not_closed(supply.breaker, supply.provider)}."
            case Reason.AT_MAX_ACCELERATORS:
                return f"It may use {whole(supply.provider.limit or 0)}, and holds {whole(supply.held)}."
            case Reason.LESS_PREFERRED:
                return self._price(supply.provider)
        return ""

    def _taint(self, supply: Supply) -> str:
        resource, keys = self._spec.accelerator.resource_name, label_keys((self._pod,))
        found = Packer(supply, resource, keys, 0.0).taint_against(self._pod.shape)
        return f"Node {found[0]} has the taint {found[1]}." if found is not None else ""

    def _room(self, supply: Supply) -> str:
        resource = self._spec.accelerator.resource_name
        most = max((accelerators_of(info, resource).free for info in supply.usable), default=0)
        free = f"{supply.free // MILLI} of its {whole(supply.allocatable)} usable accelerators are free"
        return f"{free}, at most {most // MILLI} on one node." if supply.free >= MILLI else f"{free}."

    def _price(self, provider: Provider) -> str:
        """Say why a cheaper provider is not taken."""
        taken = self._assessment.supply(self._taken)
        if taken is None or taken.provider.price is None or provider.price is None:
            return ""
        if provider.price >= taken.provider.price or self._spec.placement is not Placement.ORDERED:
            return ""
        prices = f"{provider.price} against {taken.provider.price} an hour"
        return f"It is cheaper ({prices}), but the price is not asked for: placement is Ordered."


def _startup_taint(supply: Supply) -> str:
    """Name a node that is starting, and a taint that it loses once it is ready."""
    nodes = {info.node.name: info.node for info in supply.nodes}
    for name, kept in sorted(supply.starting.items()):
        for taint in nodes[name].taints if name in nodes else ():
            if taint not in kept:
                return f"Node {name} still has the taint {taint}."
    return ""
