"""What the operator would decide about all pools of a view, by `reconcile`, as values that can be compared."""

from collections.abc import Iterable, Mapping

from computepool.assess.demand.pool_of_pod import claimants
from computepool.cli.cluster_view import View
from computepool.cli.decided_pool import DecidedPool, decided
from computepool.cli.plan_difference import Action, Outcome, PodDecision, PoolOutcome
from computepool.cli.pool_facts import facts_of
from computepool.decide.quarantine import may_be_freed, union_of
from computepool.model.reasons import Reason
from computepool.model.state import PoolState
from computepool.report.findings import sentence_of
from computepool.report.waiting import main_reason


def outcome_of(view: View, states: Mapping[str, PoolState]) -> Outcome:
    """Decide about all pools of a view. `states`: by pool, the state to start from. Raises FailedDecisionError."""
    store = view.store
    pools = {name: decided(store.snapshot(name), states[name], view.now) for name in store.pools}
    return Outcome(
        {name: _pool_outcome(found) for name, found in pools.items()},
        _pod_decisions(view, pools),
        _quarantine(view, pools),
    )


# --- pods


def _pod_decisions(view: View, pools: Mapping[str, DecidedPool]) -> Mapping[str, PodDecision]:
    made: dict[str, PodDecision] = {}
    for name, found in pools.items():
        made.update(_actions(name, found))
    places = {name: found.provider_of() for name, found in pools.items()}
    standing: dict[tuple[str, str | None], PodDecision] = {}
    for pod in view.store.pods():
        owner = next(iter(view.store.claims_of(pod.uid)), "")
        if not owner or pod.uid in made:
            continue
        # Most pods stay where they are, and there are few places.
        provider = places[owner].get(pod.node, "") if pod.node else None
        key = owner, provider
        if key not in standing:
            standing[key] = _standing(pools[owner], owner, provider)
        made[pod.uid] = standing[key]
    return made


def _standing(found: DecidedPool, pool: str, provider: str | None) -> PodDecision:
    """Return the decision on a pod that the plan leaves out. `provider`: None while it waits."""
    if provider is None:
        return PodDecision(Action.WAIT, pool)
    if not provider:
        return PodDecision(Action.STAY, pool, reason=Reason.RUNS_ELSEWHERE)
    primary = provider == found.snapshot.pool.spec.primary.name
    return PodDecision(
        Action.STAY, pool, provider, reason=Reason.RUNS_ON_PRIMARY if primary else Reason.RUNS_ON_STANDBY
    )


def _actions(pool: str, found: DecidedPool) -> Iterable[tuple[str, PodDecision]]:
    places, plan, observed = found.provider_of(), found.plan, found.observed
    for hold in plan.holds:
        yield hold.pod.uid, PodDecision(Action.WAIT, pool, target=hold.provider, reason=main_reason(hold))
    for blocked in plan.blocked:
        provider = places.get(blocked.pod.node, "")
        yield blocked.pod.uid, PodDecision(Action.BLOCKED, pool, provider, reason=main_reason(blocked))
    for burst in plan.bursts:
        sent = PodDecision(Action.SEND, pool, target=burst.provider, reason=burst.reason, observed=observed)
        yield burst.pod.uid, sent
    for move in plan.moves:
        yield (
            move.pod.uid,
            PodDecision(Action.MOVE, pool, move.source, move.target, move.reason, observed=observed),
        )


# --- nodes


def _quarantine(view: View, pools: Mapping[str, DecidedPool]) -> Mapping[str, str]:
    """Return the nodes that carry the operator's taint once all of this is done, and the taint's value.

    A pool in mode Observe taints no node, and frees its nodes.
    """
    wishes = {name: {} if found.observed else found.plan.quarantine for name, found in pools.items()}
    by_age = [claimant.pool for claimant in claimants(view.store.pools.values())]
    tainted = {name: str(reason) for name, reason in union_of(wishes, by_age).items()}
    unread = any(name not in pools for name in view.unread_pools)
    for name, value in view.store.tainted().items():
        if name not in tainted and not may_be_freed(wishes, view.store.pools_of_node(name), unread=unread):
            tainted[name] = value
    return tainted


# --- the pool as a whole


def _pool_outcome(found: DecidedPool) -> PoolOutcome:
    findings = found.outcome.assessment.configuration.findings
    return PoolOutcome(dict(facts_of(found)), tuple(sentence_of(finding) for finding in findings), found.provider_of())
