"""Running pods leave what fails: sick nodes, and all nodes of a provider that has failed, as failover.runningPods says.

A pod is moved only off a node that is seen with the taint, or that offers no accelerators any more: only then does the
scheduler send its replacement elsewhere. And never off one that is merely silent: a kubelet that is restarted does not
renew its Lease for a while, and the pods run on.

Nor off one that is well again, although it stays in quarantine for clearSeconds more: its pods run, and an eviction
would only end them. Where nodes flap that puts nothing off for ever: such a node stays sick all the while, so that its
pods go on leaving in every moment in which it is bad, without a wait.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.assess.assessment import Assessment
from computepool.assess.supply import Supply
from computepool.assess.targets import Target
from computepool.decide.movement import Leaver, Movement, in_turn
from computepool.decide.quarantine import offers
from computepool.model.api import UNAVAILABLE_KEY, BreakerState, LostPods, Mode, RunningPods
from computepool.model.reasons import Reason
from computepool.model.snapshot import MoveKind, Node, NodeUse, Pod
from computepool.model.state import Sickness
from computepool.model.taints import Taint

DEAD: Final = frozenset({Reason.NODE_SILENT, Reason.NODE_UNKNOWN})
"""Troubles of nodes whose pods do not run, as far as anybody can tell."""
FAILED: Final = frozenset({Reason.PROVIDER_UNHEALTHY, Reason.PROVIDER_SILENT, Reason.DRAINED})
"""Why a breaker is open where running pods are in trouble too: a provider that binds no more pods may run those it has
for long."""


def fail_over(movement: Movement, unknown_since: Mapping[str, float]) -> None:
    """Decide the moves off what fails. `unknown_since`: by node, since when its status is Unknown."""
    leavers = in_turn(one for supply, uses in _troubled(movement.assessment) for one in movement.leavers(supply, uses))
    for one in sorted(leavers, key=lambda one: movement.governor.asked(one.pod.uid)):
        _leave(movement, one, unknown_since)


def troubled_uses(assessment: Assessment) -> Iterable[NodeUse]:
    """Yield the nodes whose pods should leave."""
    for _, uses in _troubled(assessment):
        yield from uses


def gives_up(supply: Supply) -> bool:
    """Say whether pods should leave all nodes of the provider."""
    return supply.breaker.state is BreakerState.OPEN and supply.breaker.reason in FAILED


def in_trouble(assessment: Assessment, supply: Supply, node: str) -> bool:
    """Say whether a node's pods are to leave as things are now: what is well again is only kept from new ones.

    A provider that is drained by hand is left all the same.
    """
    if _bad(assessment, supply, node):
        return True
    if not gives_up(supply):
        return False
    # Of a provider that still fails also the nodes that were never sick are left, if the policy says so.
    troubled = assessment.health.providers[supply.target.name].troubled
    return supply.target.drain or (node not in supply.sick and troubled)


def _bad(assessment: Assessment, supply: Supply, node: str) -> bool:
    """Say whether a node counts as sick, and something is wrong with it at this moment."""
    sickness = assessment.health.providers[supply.target.name].sick.get(node)
    return sickness is not None and sickness.clear_since is None


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
    well = not _bad(movement.assessment, supply, node.name)
    if well and (policy is not RunningPods.MOVE or not in_trouble(movement.assessment, supply, node.name)):
        stays.add(one.pod, Reason.RECOVERING)
        return
    if _awaits_verdict(movement, one):
        stays.add(one.pod, Reason.AWAITING_VERDICT)
        return
    why = _comes_back(one.pod, node, spec.mode) if offers(node, spec.accelerator.resource_name) else None
    if why is not None:
        stays.add(one.pod, why)
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


def _comes_back(pod: Pod, node: Node, mode: Mode) -> Reason | None:
    """Say why the scheduler could send the pod's replacement to the same node; None where the taint keeps it off."""
    if mode is not Mode.OBSERVE and not node.quarantined:
        return Reason.QUARANTINE_PENDING
    taint = Taint(UNAVAILABLE_KEY, node.quarantine or "", "NoSchedule")
    return Reason.TOLERATES_QUARANTINE if any(one.tolerates(taint) for one in pod.shape.tolerations) else None


def _awaits_verdict(movement: Movement, one: Leaver) -> bool:
    """Say whether silence alone speaks against the node: not its status, and not its provider's other nodes."""
    if one.use.node.ready != "True" or gives_up(one.supply):
        return False
    sickness = _sickness(movement, one)
    return sickness is not None and sickness.reason is Reason.NODE_SILENT


def _sickness(movement: Movement, one: Leaver) -> Sickness | None:
    return movement.assessment.health.providers[one.supply.target.name].sick.get(one.use.node.name)


def _dead(movement: Movement, one: Leaver) -> bool:
    node, sickness = one.use.node, _sickness(movement, one)
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
