"""Running pods leave what fails: sick nodes, and all nodes of a provider that has failed, as failover.runningPods says.

A pod is moved only off a node that is seen with the taint, or that offers no accelerators any more: only then does the
scheduler send its replacement elsewhere.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.assess.assessment import Assessment
from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.decide.movement import Leaver, Movement, in_turn
from computepool.decide.quarantine import offers
from computepool.model.api import BreakerState, LostPods, Mode, RunningPods
from computepool.model.reasons import Reason
from computepool.model.snapshot import MoveKind, NodeUse

DEAD: Final = frozenset({Reason.NODE_SILENT, Reason.NODE_UNKNOWN})
"""Troubles of nodes whose pods do not run, as far as anybody can tell."""
FAILED: Final = frozenset({Reason.PROVIDER_UNHEALTHY, Reason.PROVIDER_SILENT, Reason.DRAINED})
"""Why a breaker is open where running pods are in trouble too: a provider that binds no more pods may run those it has
for long."""


def fail_over(movement: Movement, unknown_since: Mapping[str, float]) -> None:
    """Decide the moves off what fails. `unknown_since`: by node, since when its status is Unknown."""
    for one in in_turn(
        one for supply, uses in _troubled(movement.assessment) for one in movement.leavers(supply, uses)
    ):
        _leave(movement, one, unknown_since)


def troubled_uses(assessment: Assessment) -> Iterable[NodeUse]:
    """Yield the nodes whose pods should leave."""
    for _, uses in _troubled(assessment):
        yield from uses


def gives_up(supply: Supply) -> bool:
    """Say whether pods should leave all nodes of the provider."""
    return supply.breaker.state is BreakerState.OPEN and supply.breaker.reason in FAILED


def _troubled(assessment: Assessment) -> list[tuple[Supply, tuple[NodeUse, ...]]]:
    found = []
    for supply in assessment.supplies:
        if gives_up(supply):
            found.append((supply, supply.nodes))
        elif supply.sick:
            found.append((supply, tuple(use for use in supply.nodes if use.node.name in supply.sick)))
    return found


def _leave(movement: Movement, one: Leaver, unknown_since: Mapping[str, float]) -> None:
    spec, stays = movement.snapshot.pool.spec, movement.stays
    node, supply = one.use.node, one.supply
    sick = node.name in supply.sick
    policy = spec.failover.running_pods
    if policy is RunningPods.LEAVE or (policy is RunningPods.FROM_UNHEALTHY_NODES and not sick):
        stays.add(one.pod, Reason.LEFT_BY_POLICY)
        return
    kept_off = node.quarantined or not offers(node, spec.accelerator.resource_name)
    if not kept_off and spec.mode is not Mode.OBSERVE:
        stays.add(one.pod, Reason.QUARANTINE_PENDING)
        return
    lost = _lost(movement, one, unknown_since)
    if movement.held(one, MoveKind.FAILOVER, dwells=not _dead(movement, one)):
        return
    target = movement.to(one, movement.targets)
    if not isinstance(target, Target):
        stays.add(one.pod, Reason.WOULD_STRAND, target)
        return
    reason = Reason.LEAVES_PROVIDER if gives_up(supply) else Reason.LEAVES_SICK_NODE
    movement.move(one, target, MoveKind.FAILOVER, Reason.LOST_NODE if lost else reason, release=lost)


def _dead(movement: Movement, one: Leaver) -> bool:
    name, node = one.supply.target.name, one.use.node
    sickness = movement.assessment.health.providers[name].sick.get(node.name)
    silent = sickness is not None and sickness.clear_since is None and sickness.reason in DEAD
    return node.ready == "Unknown" or silent


def _lost(movement: Movement, one: Leaver, unknown_since: Mapping[str, float]) -> bool:
    """Say whether the node is gone for so long that its pods are released."""
    spec = movement.snapshot.pool.spec.failover
    since = unknown_since.get(one.use.node.name)
    if spec.lost_pods is LostPods.LEAVE or since is None:
        return False
    due = since + spec.lost_seconds
    movement.stays.later(due)
    return movement.now >= due
