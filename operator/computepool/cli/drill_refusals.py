"""When a live drill must not begin, and what a person has to know before it does."""

import msgspec

from computepool.cli import drill_field
from computepool.cli.drill_field import DrillError
from computepool.cli.drill_seed import nodes_of
from computepool.cli.drill_text import Told, took
from computepool.cli.leader import Leader
from computepool.model.api import BreakerState, BreakerStatus, ComputePool, ConditionStatus, FailbackPolicy, Mode
from computepool.model.reasons import Reason
from computepool.report.conditions import DEGRADED
from computepool.report.formatting import counted
from computepool.simulate.drill import Seed


class Limits(msgspec.Struct, frozen=True):
    """What the user allows."""

    within: float
    """Seconds after which the drill ends by itself."""
    allow_stranded: bool = False


def refuse(pool: ComputePool, leader: Leader, told: Told, limits: Limits, now: float) -> None:
    """Raise DrillError if the drill must not begin.

    `pool`: as it is stored now; `told`: the plan; `now`: the leader's time, in seconds since the epoch.
    """
    if why := _why_not(pool, leader, told, limits, now):
        raise DrillError(f"no drill: {why}")


def _why_not(pool: ComputePool, leader: Leader, told: Told, limits: Limits, now: float) -> str:
    if pool.metadata.uid != told.pool.metadata.uid:
        return f"pool {pool.name} is another pool by now"
    if why := _pool_forbids(pool, told.course.provider, now):
        return why
    if not leader.is_well:
        return leader.trouble or leader.message
    return _plan_forbids(told, limits)


def _pool_forbids(pool: ComputePool, provider: str, now: float) -> str:
    if pool.spec.mode is Mode.OBSERVE:
        return "the pool is in mode Observe, so nothing would move"
    if why := drill_field.why_not_now(pool, provider, now):
        return why
    breakers = {found.name: found.breaker for found in pool.status.providers}
    if provider not in breakers or not pool.status.conditions:
        return "the operator has not reported on this pool yet"
    if breakers[provider].state is not BreakerState.CLOSED:
        return f"{provider} is not in full use: its breaker is {_state(breakers[provider])}"
    for name, breaker in breakers.items():
        if breaker.state is BreakerState.OPEN and breaker.reason != Reason.DRAINED:
            return f"{name} has failed, and pods could not go there: its breaker is {_state(breaker)}"
    degraded = pool.status.condition(DEGRADED)
    if degraded is not None and degraded.status is not ConditionStatus.FALSE:
        return f"the pool is Degraded already ({degraded.reason}): {degraded.message}"
    return ""


def _state(breaker: BreakerStatus) -> str:
    return f"{breaker.state} ({breaker.reason})" if breaker.reason else str(breaker.state)


def _plan_forbids(told: Told, limits: Limits) -> str:
    course = told.course
    if not course.fates:
        return f"no pod of the pool that could leave runs on {course.provider}, so a drill would show nothing"
    if course.served_after is None:
        return "no pod would be Ready elsewhere, see above, so a drill would show nothing"
    if course.stranded and not limits.allow_stranded:
        return (
            f"{counted(len(course.stranded), 'pod')} would be stranded, see above. A pod that can't leave stays on "
            "the provider. To drill nevertheless, give --allow-stranded"
        )
    if course.served_after > limits.within:
        return (
            f"the plan takes {took(course.served_after)}, and the drill ends after {took(limits.within)}: give it "
            "longer with --within MINUTES, at most 120"
        )
    return ""


def compare(shown: Told, now: Told) -> None:
    """Raise DrillError if the plan has become worse since a person has seen it."""
    before, after = shown.course, now.course
    if len(after.stranded) > len(before.stranded) or len(after.fates) > len(before.fates):
        raise DrillError(
            f"no drill: the plan is another by now. {now.verdict} Begin again to see it, and nothing was changed"
        )


def shared_with(seed: Seed, provider: str) -> list[str]:
    """Return the names of the other pools that have nodes of the provider."""
    selectors = {
        pool.name: [spec.node_selector.compiled() for spec in pool.spec.providers] for pool in seed.around.other_pools
    }
    own = nodes_of(seed, provider)
    nodes = [node for node in seed.nodes if node.name in own]
    return sorted(
        name
        for name, found in selectors.items()
        if any(selector.matches(node.labels) for selector in found for node in nodes)
    )


def consequences(told: Told) -> str:
    """Say what stays changed after the drill: where the pods are."""
    spec, provider = told.pool.spec, told.course.provider
    if spec.primary.name != provider:
        return "After the drill the pods stay where they have gone: pods are not sent back to a standby."
    if spec.failback.policy is FailbackPolicy.NEVER:
        return (
            "After the drill the pods stay where they have gone: failback.policy is Never. Set another policy to bring "
            "them home."
        )
    return f"After the drill the pods come home as far as failback lets them (failback.policy: {spec.failback.policy})."
