"""Failover: moves pods off unhealthy nodes and failed or drained providers, as failover.runningPods says.

On a drained provider, its field drainRunningPods comes first.

A pod leaves a node only after the watch shows the taint, or shows that the node's accelerators are gone. Only then does
the scheduler bind the replacement elsewhere. Pods stay on a node that is only silent: a kubelet that restarts does not
renew its Lease for a while, but its pods run on.

Pods also stay on a node without a present fault, although the node stays in quarantine for clearSeconds more. They
leave a flapping node whenever its fault is present and confirmed.

A black hole is a fault for new pods only. Pods that run there stay, ready or not, also if so many nodes are black holes
that the provider has failed. Then the pods on its other nodes stay too, because nothing is wrong with these nodes.

A virtual kubelet may refuse a pod and leave it pending for good, beside pods that it runs well. Such a pod never ran.
It leaves for another provider once its workload is held off this provider, so that its replacement does not come back.

A ready pod with constraints that fit does not model leaves only after the replacement of the pod before it is bound,
unless its node is dead: such constraints may hold for the pods of one owner together.

Some faults keep new pods off long before running pods leave (`assess/health/hysteresis.py`): a silent link is not a
dead provider, and a device plugin that is away is not a lost device.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from computepool.assess.assessment import Assessment
from computepool.assess.capacity.providers import Provider
from computepool.assess.capacity.supply import Supply
from computepool.assess.health.faults import DARK_FAULTS, DEVICE_FAULTS
from computepool.decide.account.capacity_account import LAST_RESORT
from computepool.decide.move.eligibility import may_fail_for_good
from computepool.decide.move.planner import MoveCandidate, MovePlanner, Rejected, in_turn
from computepool.decide.quarantine import may_take_pods
from computepool.model.api import UNAVAILABLE_KEY, BreakerState, LostPods, Mode, RunningPods
from computepool.model.cluster import Node, NodeInfo, Pod
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.snapshot import Snapshot
from computepool.model.state import NodeFault
from computepool.model.taints import Taint
from computepool.model.well_known_keys import QUARANTINE_EFFECT

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""The taint by which a person confirms that a node has stopped. Kubernetes then removes terminating pods from it."""
FAILED: Final = frozenset({Reason.PROVIDER_UNHEALTHY, Reason.PROVIDER_SILENT, Reason.METRIC_UNHEALTHY})
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
    assessment = planner.context.assessment
    troubled, refusing = _troubled(assessment), _refusing(assessment)
    candidates = in_turn(
        [
            *(found for supply, infos in troubled for found in planner.candidates(supply, infos)),
            *(
                found
                for supply, infos in refusing
                for found in planner.candidates(supply, infos)
                if _is_refused(assessment, supply, found.pod)
            ),
        ]
    )
    # A planned drain can wait, and so can a pod that does not run: the other pods come first within the limits.
    for candidate in sorted(
        candidates,
        key=lambda found: (
            _is_drained(planner, found),
            _leaves_refused(planner, found),
            _is_poor_canary(planner, found.pod),
            planner.retries.last_refused_at(found.pod.uid),
        ),
    ):
        _leave(planner, candidate, unknown_since)


def troubled_infos(assessment: Assessment) -> Iterable[NodeInfo]:
    """Yield the nodes whose pods should leave."""
    for _, infos in (*_troubled(assessment), *_refusing(assessment)):
        yield from infos


def gives_up(supply: Supply) -> bool:
    """Say whether pods should leave all nodes of the provider.

    A person's drain counts whatever else the breaker has opened for.
    """
    breaker = supply.breaker
    return supply.provider.drain or (breaker.state is BreakerState.OPEN and breaker.reason in FAILED)


def in_trouble(assessment: Assessment, supply: Supply, pod: Pod) -> bool:
    """Say whether a bound pod should leave now, because of its node or of its provider."""
    fault = _fault_of(assessment, supply, pod.node)
    if _drives_out(fault, pod) or _is_refused(assessment, supply, pod):
        return True
    if not gives_up(supply):
        return False
    # A failed provider may have recovered. Then its nodes only stay in quarantine, unless the provider is drained.
    confirmed = assessment.health.providers[supply.provider.name].confirmed
    return supply.provider.drain or (confirmed and (fault is None or fault.present))


def _drives_out(fault: NodeFault | None, pod: Pod) -> bool:
    """Say whether an unhealthy node's fault is reason enough for the pod to leave.

    A pod that runs, or is about to, was given its accelerators before. So it stays until their absence is confirmed. A
    pod whose containers fail to start may fail for want of accelerators. A black hole harms pods that do not run.
    """
    if fault is None or not fault.present or (fault.reason is Reason.BLACK_HOLE and pod.runs):
        return False
    return fault.confirmed or (fault.reason in DEVICE_FAULTS and pod.failing and not pod.ready)


def _is_drained(planner: MovePlanner, candidate: MoveCandidate) -> bool:
    """Say whether the pod leaves a drained provider although nothing is wrong with its node."""
    return candidate.supply.provider.drain and not _drives_out(_fault_on(planner, candidate), candidate.pod)


def _is_poor_canary(planner: MovePlanner, pod: Pod) -> bool:
    """Say whether the other pods come first because a target is half-open, and takes one pod only."""
    return any(planner.account.is_poor_canary(pod, target) for target in planner.targets)


def _leaves_refused(planner: MovePlanner, candidate: MoveCandidate) -> bool:
    """Say whether the pod leaves only because its node refuses it."""
    assessment, supply, pod = planner.context.assessment, candidate.supply, candidate.pod
    others = gives_up(supply) or _drives_out(_fault_on(planner, candidate), pod)
    return not others and _is_refused(assessment, supply, pod)


def _fault_on(planner: MovePlanner, candidate: MoveCandidate) -> NodeFault | None:
    return _fault_of(planner.context.assessment, candidate.supply, candidate.info.node.name)


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


def _refusing(assessment: Assessment) -> list[tuple[Supply, tuple[NodeInfo, ...]]]:
    """Return the nodes beside the troubled nodes that refuse pods which leave for that."""
    if not assessment.breakers.hold_offs.leaving:
        return []
    found = []
    for supply in assessment.supplies[1:]:
        infos = () if gives_up(supply) else supply.nodes
        refusing = [
            info
            for info in infos
            if info.node.name not in supply.unhealthy and any(_is_refused(assessment, supply, pod) for pod in info.pods)
        ]
        if refusing:
            found.append((supply, tuple(refusing)))
    return found


def _is_refused(assessment: Assessment, supply: Supply, pod: Pod) -> bool:
    return assessment.breakers.hold_offs.is_leaving(pod, supply.provider.name)


def _leave(planner: MovePlanner, candidate: MoveCandidate, unknown_since: Mapping[str, float]) -> None:
    """Move one pod, or note why it stays."""
    why, fault = _why_it_stays(planner, candidate), _fault_on(planner, candidate)
    if why is not None:
        awaited = fault is not None and fault.present and why is Reason.AWAITING_VERDICT
        planner.blocked.add(candidate.pod, why, until=fault.confirm_at if fault is not None and awaited else None)
        return
    lost, dead = _is_lost(planner, candidate, unknown_since), _is_dead(planner, candidate)
    if not lost and _keeps_name(planner, candidate):
        planner.blocked.add(candidate.pod, Reason.LOST_NODE)
        return
    if not dead and may_fail_for_good(candidate.pod):
        planner.blocked.add(candidate.pod, Reason.NOT_MOVABLE)
        return
    if not dead and candidate.pod.ready and planner.tries_another(candidate.pod):
        planner.blocked.add(candidate.pod, Reason.AWAITS_REPLACEMENT)
        return
    drain, refused = _is_drained(planner, candidate), _leaves_refused(planner, candidate)
    if not planner.may_leave(candidate, MoveKind.FAILOVER, drain=drain, dwells=not (dead or refused)):
        return
    target, room_seconds = _reserve(planner, candidate, dead=dead, refused=refused)
    if not isinstance(target, Provider):
        planner.blocked.add(candidate.pod, Reason.WOULD_STRAND, target)
        return
    reason = Reason.LEAVES_PROVIDER if gives_up(candidate.supply) else Reason.LEAVES_SICK_NODE
    reason = Reason.LOST_NODE if lost else Reason.WORKLOAD_BACK_OFF if refused else reason
    flags = {"release": lost, "drain": drain}
    planner.move(candidate, target, MoveKind.FAILOVER, reason, room_seconds=room_seconds, **flags)


def _reserve(
    planner: MovePlanner, candidate: MoveCandidate, *, dead: bool, refused: bool
) -> tuple[Provider | Rejected, float]:
    """Reserve a place for the pod; return its provider, or all rejections, and the seconds that a new node may take."""
    own = candidate.supply.provider
    targets = [target for target in planner.targets if not (refused and target is own)]
    target = planner.reserve_target(candidate, targets)
    if isinstance(target, Provider):
        return target, 0.0
    # A pod on a dead node loses nothing. A pod that runs waits until the provider has made the node before.
    target = planner.reserve_new_node(candidate, target, in_turn=not dead)
    if isinstance(target, Provider):
        return target, target.timeout
    last = planner.reserve_target(candidate, targets, LAST_RESORT) if dead else target
    return (last if isinstance(last, Provider) else target), 0.0


def _why_it_stays(planner: MovePlanner, candidate: MoveCandidate) -> Reason | None:
    """Return the reason why the pod stays on its node; None if it should leave. Free capacity does not matter here."""
    context, supply, node = planner.context, candidate.supply, candidate.info.node
    policy = supply.provider.running_pods
    if policy is not RunningPods.LEAVE and _leaves_refused(planner, candidate):
        return None
    unhealthy = node.name in supply.unhealthy
    if policy is RunningPods.LEAVE or (policy is RunningPods.FROM_UNHEALTHY_NODES and not unhealthy):
        return Reason.LEFT_BY_POLICY
    fault = _fault_of(context.assessment, supply, node.name)
    leaves_provider = policy is RunningPods.MOVE and in_trouble(context.assessment, supply, candidate.pod)
    if not leaves_provider and not _drives_out(fault, candidate.pod):
        return _why_it_need_not_leave(context.assessment, supply, fault)
    if _awaits_verdict(planner, candidate):
        return Reason.AWAITING_VERDICT
    if not may_take_pods(supply, candidate.info, context.resource):
        return None
    return _why_it_would_return(candidate.pod, node, context.spec.mode)


def _why_it_need_not_leave(assessment: Assessment, supply: Supply, fault: NodeFault | None) -> Reason:
    """Return why nothing drives a pod out. `fault`: its node's."""
    health = assessment.health.providers[supply.provider.name]
    if fault is not None and fault.present:
        return Reason.UNAFFECTED if fault.reason is Reason.BLACK_HOLE else Reason.AWAITING_VERDICT
    if health.starts_none:
        return Reason.UNAFFECTED
    return Reason.AWAITING_VERDICT if fault is None and health.troubled else Reason.RECOVERING


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
    fault = _fault_on(planner, candidate)
    # The only detail of a silence is the announcement of the node's end.
    return fault is not None and fault.reason is Reason.NODE_SILENT and not fault.detail


def _is_dead(planner: MovePlanner, candidate: MoveCandidate) -> bool:
    """Say whether the node has stopped for good, or is about to: its pods lose nothing more by an eviction.

    Nothing was heard of it for failover.silenceSeconds, or its end is announced. All other faults are doubts: the pods
    may run on.
    """
    fault = _fault_on(planner, candidate)
    dark = fault is not None and fault.present and fault.confirmed and fault.reason in DARK_FAULTS
    announced = fault is not None and fault.present and fault.reason is Reason.REMOVAL_ANNOUNCED
    ends = {OUT_OF_SERVICE, *planner.context.spec.health.removal_taints}
    return dark or announced or any(taint.key in ends for taint in candidate.info.node.taints)


def _keeps_name(planner: MovePlanner, candidate: MoveCandidate) -> bool:
    """Say whether the pod's name is taken for as long as its node does not answer, so that no other pod replaces it."""
    node = candidate.info.node
    if not candidate.pod.keeps_name or any(taint.key == OUT_OF_SERVICE for taint in node.taints):
        return False
    fault = _fault_on(planner, candidate)
    silent = fault is not None and fault.present and fault.reason is Reason.NODE_SILENT
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
