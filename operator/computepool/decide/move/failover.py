"""Failover: moves pods off unhealthy nodes and failed providers, as failover.runningPods says.

A pod leaves a node only after the watch shows the taint, or shows that the node's accelerators are gone. Only then does
the scheduler bind the replacement elsewhere. Pods stay on a node that is only silent: a kubelet that restarts does not
renew its Lease for a while, but its pods run on.

Pods also stay on a node without a present fault, although the node stays in quarantine for clearSeconds more. They
leave a flapping node whenever its fault is present.

A black hole is a fault for new pods only. Pods that are ready there stay, also if so many nodes are black holes that
the provider has failed. Then the pods on its other nodes stay too, because nothing is wrong with these nodes.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.decide.context import Context
from computepool.decide.move.eligibility import NAMED, may_fail_its_job
from computepool.decide.move.planner import MoveCandidate, MovePlanner, in_turn
from computepool.decide.quarantine import offers
from computepool.model.api import UNAVAILABLE_KEY, BreakerState, LostPods, Mode, RunningPods
from computepool.model.cluster import Node, NodeInfo, Pod
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import NodeFault
from computepool.model.taints import Taint
from computepool.model.well_known_keys import QUARANTINE_EFFECT

DEAD_AFTER_SECONDS: Final = 90.0
"""A node whose heartbeat has been silent for this long counts as dead."""
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""The taint by which a person confirms that a node has stopped. Kubernetes then removes terminating pods from it."""
FAILED: Final = frozenset({Reason.PROVIDER_UNHEALTHY, Reason.PROVIDER_SILENT, Reason.DRAINED})
"""Breaker reasons for which running pods leave too. A provider that binds no new pods may still run its pods well."""


def unknown_since(snapshot: Snapshot, before: Mapping[str, float], now: float) -> dict[str, float]:
    """Return since when the status of each node is Unknown, by name. `before`: the result of the pass before."""
    return {
        info.node.name: min(before.get(info.node.name, now), now)
        for info in snapshot.nodes
        if info.node.ready == "Unknown"
    }


def fail_over(planner: MovePlanner, unknown_since: Mapping[str, float]) -> None:
    """Decide the moves off failing nodes and providers. `unknown_since`: by node, since when its status is Unknown."""
    troubled = _troubled(planner.context.assessment)
    candidates = in_turn(found for supply, infos in troubled for found in planner.candidates(supply, infos))
    for candidate in sorted(candidates, key=lambda candidate: planner.retries.last_refused_at(candidate.pod.uid)):
        _leave(planner, candidate, unknown_since)


def troubled_infos(assessment: Assessment) -> Iterable[NodeInfo]:
    """Yield the nodes whose pods should leave."""
    for _, infos in _troubled(assessment):
        yield from infos


def gives_up(supply: Supply) -> bool:
    """Say whether pods should leave all nodes of the provider."""
    return supply.breaker.state is BreakerState.OPEN and supply.breaker.reason in FAILED


def in_trouble(assessment: Assessment, supply: Supply, pod: Pod) -> bool:
    """Say whether a pod should leave its node now, because of the node or of its provider."""
    if _harms(_present_fault(assessment, supply, pod.node), pod):
        return True
    if not gives_up(supply):
        return False
    if supply.provider.drain:
        return True
    # A failed provider may have recovered. Then its nodes only stay in quarantine.
    health = assessment.health.providers[supply.provider.name]
    recovers = pod.node in supply.unhealthy and _present_fault(assessment, supply, pod.node) is None
    return health.troubled and not recovers and not health.starts_none


def _harms(fault: NodeFault | None, pod: Pod) -> bool:
    """Say whether a node's fault is one for a pod on it."""
    return fault is not None and not (pod.ready and fault.reason is Reason.BLACK_HOLE)


def _only_new_pods_fail(assessment: Assessment, supply: Supply, pod: Pod) -> bool:
    """Say whether new pods fail on the node of a pod that stays, or on most nodes of its provider."""
    fault = _present_fault(assessment, supply, pod.node)
    black_hole = fault is not None and fault.reason is Reason.BLACK_HOLE
    return black_hole or assessment.health.providers[supply.provider.name].starts_none


def _present_fault(assessment: Assessment, supply: Supply, node: str) -> NodeFault | None:
    """Return the fault of an unhealthy node if it is still present."""
    fault = _fault_of(assessment, supply, node)
    return fault if fault is not None and fault.clear_since is None else None


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


def _leave(planner: MovePlanner, candidate: MoveCandidate, unknown_since: Mapping[str, float]) -> None:
    """Move one pod, or note why it stays."""
    why = _why_it_stays(planner, candidate)
    if why is not None:
        planner.blocked.add(candidate.pod, why)
        return
    lost = _is_lost(planner, candidate, unknown_since)
    if not lost and _keeps_name(planner, candidate):
        planner.blocked.add(candidate.pod, Reason.LOST_NODE)
        return
    dead = is_dead(planner.context, candidate.info.node)
    if not dead and may_fail_its_job(candidate.pod):
        planner.blocked.add(candidate.pod, Reason.NOT_MOVABLE)
        planner.blocked.recheck(_dead_at(planner.context, candidate.info.node))
        return
    fault = _present_fault(planner.context.assessment, candidate.supply, candidate.info.node.name)
    drain = candidate.supply.provider.drain and fault is None
    if not planner.may_leave(candidate, MoveKind.FAILOVER, drain=drain, dwells=not dead):
        return
    target, room_seconds = planner.reserve_target(candidate, planner.targets), 0.0
    if not isinstance(target, Provider):
        # A pod on a dead node loses nothing. A pod that runs waits until the provider has made the node before.
        target = planner.reserve_new_node(candidate, target, in_turn=not dead)
        if not isinstance(target, Provider):
            planner.blocked.add(candidate.pod, Reason.WOULD_STRAND, target)
            return
        room_seconds = target.timeout
    reason = Reason.LEAVES_PROVIDER if gives_up(candidate.supply) else Reason.LEAVES_SICK_NODE
    reason = Reason.LOST_NODE if lost else reason
    flags = {"release": lost, "drain": drain}
    planner.move(candidate, target, MoveKind.FAILOVER, reason, room_seconds=room_seconds, **flags)


def _why_it_stays(planner: MovePlanner, candidate: MoveCandidate) -> Reason | None:
    """Return the reason why the pod stays on its node; None if it should leave. Free capacity does not matter here."""
    context, supply, node = planner.context, candidate.supply, candidate.info.node
    policy = context.spec.failover.running_pods
    unhealthy = node.name in supply.unhealthy
    if policy is RunningPods.LEAVE or (policy is RunningPods.FROM_UNHEALTHY_NODES and not unhealthy):
        return Reason.LEFT_BY_POLICY
    harmed = _harms(_present_fault(context.assessment, supply, node.name), candidate.pod)
    if not harmed and (policy is not RunningPods.MOVE or not in_trouble(context.assessment, supply, candidate.pod)):
        unaffected = _only_new_pods_fail(context.assessment, supply, candidate.pod)
        return Reason.UNAFFECTED if unaffected else Reason.RECOVERING
    if _awaits_verdict(planner, candidate):
        return Reason.AWAITING_VERDICT
    if not offers(candidate.info, context.resource):
        return None
    return _why_it_would_return(candidate.pod, node, context.spec.mode)


def _why_it_would_return(pod: Pod, node: Node, mode: Mode) -> Reason | None:
    """Return why the scheduler could bind the replacement to the same node; None if the taint prevents that."""
    if mode is not Mode.OBSERVE and not node.quarantined:
        return Reason.QUARANTINE_PENDING
    taint = Taint(UNAVAILABLE_KEY, node.quarantine or "", QUARANTINE_EFFECT)
    tolerated = any(toleration.tolerates(taint) for toleration in pod.shape.tolerations)
    return Reason.TOLERATES_QUARANTINE if tolerated else None


def _awaits_verdict(planner: MovePlanner, candidate: MoveCandidate) -> bool:
    """Say whether silence is the only fault: the node's status is good, and its provider has not failed."""
    if candidate.info.node.ready != "True" or gives_up(candidate.supply):
        return False
    fault = _fault_of(planner.context.assessment, candidate.supply, candidate.info.node.name)
    return fault is not None and fault.reason is Reason.NODE_SILENT


def is_dead(context: Context, node: Node) -> bool:
    """Say whether the node has stopped for good, or is about to: its pods lose nothing more by an eviction.

    Its status is Unknown, its heartbeat has been silent for DEAD_AFTER_SECONDS, or a taint announces its end. All other
    faults are doubts: the pods may run on.
    """
    dead_at = _dead_at(context, node)
    if node.ready == "Unknown" or (dead_at is not None and context.now >= dead_at):
        return True
    return any(taint.key in context.spec.health.removal_taints for taint in node.taints)


def _dead_at(context: Context, node: Node) -> float | None:
    """Return when the node counts as dead if its heartbeat stays silent; None if its heartbeat was never seen."""
    heard = context.snapshot.heartbeats.get(node.name)
    if heard is None or not context.spec.health.silent_seconds:
        return None
    return max(heard, context.snapshot.listening_since) + DEAD_AFTER_SECONDS


def _keeps_name(planner: MovePlanner, candidate: MoveCandidate) -> bool:
    """Say whether the pod's name is taken for as long as its node does not answer, so that no other pod replaces it."""
    node = candidate.info.node
    if candidate.pod.owner_kind != NAMED or any(taint.key == OUT_OF_SERVICE for taint in node.taints):
        return False
    fault = _fault_of(planner.context.assessment, candidate.supply, node.name)
    silent = fault is not None and fault.clear_since is None and fault.reason is Reason.NODE_SILENT
    return node.ready == "Unknown" or silent


def _is_lost(planner: MovePlanner, candidate: MoveCandidate, unknown_since: Mapping[str, float]) -> bool:
    """Say whether the node's status has been Unknown for so long that its pods are deleted."""
    spec = planner.context.spec.failover
    since = unknown_since.get(candidate.info.node.name)
    if spec.lost_pods is LostPods.LEAVE or since is None:
        return False
    due = since + spec.lost_seconds
    planner.blocked.recheck(due)
    return planner.context.now >= due
