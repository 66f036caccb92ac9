"""Running pods leave unhealthy nodes, and all nodes of a failed provider, as failover.runningPods says.

A pod is moved only off a node that is seen with the taint, or that offers no accelerators any more: only then does the
scheduler send its replacement elsewhere. A pod never leaves a node that is merely silent: a kubelet that is restarted
does not renew its Lease for a while, and the pods run on.

Nor does a pod leave a node that is well again, although the node stays in quarantine for clearSeconds more: the pod
runs, and an eviction would only end it. A node that flaps stays unhealthy all the while, so its pods leave in every
moment in which it is bad.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.decide.move.planner import Candidate, MovePlanner, in_turn
from computepool.decide.quarantine import offers
from computepool.model.api import UNAVAILABLE_KEY, BreakerState, LostPods, Mode, RunningPods
from computepool.model.cluster import Node, NodeInfo, Pod
from computepool.model.keys import QUARANTINE_EFFECT
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.state import NodeFault
from computepool.model.taints import Taint

DEAD: Final = frozenset({Reason.NODE_SILENT, Reason.NODE_UNKNOWN})
"""Troubles of nodes whose pods do not run, as far as is known."""
FAILED: Final = frozenset({Reason.PROVIDER_UNHEALTHY, Reason.PROVIDER_SILENT, Reason.DRAINED})
"""Reasons of an open breaker that concern running pods too. A provider that binds no more pods may run its own for
long."""


def fail_over(planner: MovePlanner, unknown_since: Mapping[str, float]) -> None:
    """Decide the moves off what fails. `unknown_since`: by node, since when its status is Unknown."""
    troubled = _troubled(planner.context.assessment)
    candidates = in_turn(found for supply, infos in troubled for found in planner.candidates(supply, infos))
    for candidate in sorted(candidates, key=lambda one: planner.limits.last_refused_at(one.pod.uid)):
        _leave(planner, candidate, unknown_since)


def troubled_infos(assessment: Assessment) -> Iterable[NodeInfo]:
    """Yield the nodes whose pods should leave."""
    for _, infos in _troubled(assessment):
        yield from infos


def gives_up(supply: Supply) -> bool:
    """Say whether pods should leave all nodes of the provider."""
    return supply.breaker.state is BreakerState.OPEN and supply.breaker.reason in FAILED


def in_trouble(assessment: Assessment, supply: Supply, node: str) -> bool:
    """Say whether a node's pods are to leave as things are now: a node that is well again only gets no new pods.

    Pods leave a provider that is drained by hand all the same.
    """
    if _bad(assessment, supply, node):
        return True
    if not gives_up(supply):
        return False
    # While a provider still fails, pods also leave its nodes that were never unhealthy, if the policy says so.
    troubled = assessment.health.providers[supply.provider.name].troubled
    return supply.provider.drain or (node not in supply.unhealthy and troubled)


def _bad(assessment: Assessment, supply: Supply, node: str) -> bool:
    """Say whether a node counts as unhealthy, and something is wrong with it at this moment."""
    fault = _fault_of(assessment, supply, node)
    return fault is not None and fault.clear_since is None


def _fault_of(assessment: Assessment, supply: Supply, node: str) -> NodeFault | None:
    return assessment.health.providers[supply.provider.name].unhealthy.get(node)


def _troubled(assessment: Assessment) -> list[tuple[Supply, tuple[NodeInfo, ...]]]:
    found = []
    for supply in assessment.supplies:
        if gives_up(supply):
            found.append((supply, supply.nodes))
        elif supply.unhealthy:
            found.append((supply, tuple(info for info in supply.nodes if info.node.name in supply.unhealthy)))
    return found


def _leave(planner: MovePlanner, candidate: Candidate, unknown_since: Mapping[str, float]) -> None:
    """Move one pod off what fails, or note why it stays."""
    why = _why_it_stays(planner, candidate)
    if why is not None:
        planner.blocked.add(candidate.pod, why)
        return
    lost = _is_lost(planner, candidate, unknown_since)
    if not planner.may_leave(candidate, MoveKind.FAILOVER, dwells=not _is_dead(planner, candidate)):
        return
    target = planner.reserve_target(candidate, planner.targets)
    if not isinstance(target, Provider):
        planner.blocked.add(candidate.pod, Reason.WOULD_STRAND, target)
        return
    reason = Reason.LEAVES_PROVIDER if gives_up(candidate.supply) else Reason.LEAVES_SICK_NODE
    planner.move(candidate, target, MoveKind.FAILOVER, Reason.LOST_NODE if lost else reason, release=lost)


def _why_it_stays(planner: MovePlanner, candidate: Candidate) -> Reason | None:
    """Return why the pod is left on its node whatever room there is elsewhere; None where it should leave."""
    context, supply, node = planner.context, candidate.supply, candidate.info.node
    policy = context.spec.failover.running_pods
    unhealthy = node.name in supply.unhealthy
    if policy is RunningPods.LEAVE or (policy is RunningPods.FROM_UNHEALTHY_NODES and not unhealthy):
        return Reason.LEFT_BY_POLICY
    well = not _bad(context.assessment, supply, node.name)
    if well and (policy is not RunningPods.MOVE or not in_trouble(context.assessment, supply, node.name)):
        return Reason.RECOVERING
    if _awaits_verdict(planner, candidate):
        return Reason.AWAITING_VERDICT
    if not offers(candidate.info, context.resource):
        return None
    return _why_it_would_return(candidate.pod, node, context.spec.mode)


def _why_it_would_return(pod: Pod, node: Node, mode: Mode) -> Reason | None:
    """Return why the scheduler could send the pod's replacement to the same node; None where the taint prevents it."""
    if mode is not Mode.OBSERVE and not node.quarantined:
        return Reason.QUARANTINE_PENDING
    taint = Taint(UNAVAILABLE_KEY, node.quarantine or "", QUARANTINE_EFFECT)
    return Reason.TOLERATES_QUARANTINE if any(one.tolerates(taint) for one in pod.shape.tolerations) else None


def _awaits_verdict(planner: MovePlanner, candidate: Candidate) -> bool:
    """Say whether silence alone speaks against the node: not its status, and not its provider's other nodes."""
    if candidate.info.node.ready != "True" or gives_up(candidate.supply):
        return False
    fault = _fault_of(planner.context.assessment, candidate.supply, candidate.info.node.name)
    return fault is not None and fault.reason is Reason.NODE_SILENT


def _is_dead(planner: MovePlanner, candidate: Candidate) -> bool:
    node = candidate.info.node
    fault = _fault_of(planner.context.assessment, candidate.supply, node.name)
    dead = fault is not None and fault.clear_since is None and fault.reason in DEAD
    return node.ready == "Unknown" or dead


def _is_lost(planner: MovePlanner, candidate: Candidate, unknown_since: Mapping[str, float]) -> bool:
    """Say whether the node is gone for so long that its pods are released."""
    spec = planner.context.spec.failover
    since = unknown_since.get(candidate.info.node.name)
    if spec.lost_pods is LostPods.LEAVE or since is None:
        return False
    due = since + spec.lost_seconds
    planner.blocked.recheck(due)
    return planner.context.now >= due
