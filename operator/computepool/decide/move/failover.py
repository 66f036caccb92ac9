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

import msgspec

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
    _Failover(planner, unknown_since).decide()


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
    return _is_given_up(assessment, supply, fault)


def _is_given_up(assessment: Assessment, supply: Supply, fault: NodeFault | None) -> bool:
    """Say whether all pods should leave a node because of its provider. `fault`: the node's.

    A failed provider may have recovered. Then its nodes only stay in quarantine, unless the provider is drained.
    """
    if not gives_up(supply):
        return False
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


class _Trouble(msgspec.Struct, frozen=True):
    """What is the same for all pods on a node, which may be many."""

    fault: NodeFault | None
    gives_up: bool
    """Whether pods should leave all nodes of the provider."""
    given_up: bool
    """Whether all pods should leave this node because of its provider."""
    awaits_verdict: bool
    """Whether silence is the only fault: the node's status is good, and its provider has not failed."""
    quarantine: str | None
    """The value of the operator's own taint; None without it."""
    takes_pods: bool
    """Whether the scheduler may bind a pod of the pool to the node."""
    dead: bool
    """Whether the node has stopped for good, or is about to: its pods lose nothing more by an eviction."""
    keeps_names: bool
    """Whether the node does not answer, so that the names of its pods stay taken."""
    lost_at: float | None
    """When its status has been Unknown for so long that its pods are deleted; None if they never are."""


class _Failover:
    """The failover of one pass."""

    def __init__(self, planner: MovePlanner, unknown_since: Mapping[str, float]) -> None:
        self._planner = planner
        self._context = planner.context
        self._assessment = planner.context.assessment
        self._unknown_since = unknown_since
        # Other pods come first if a target is half-open, and takes one pod only.
        self._half_open = [target for target in planner.targets if target.name in planner.account.half_open]
        self._refusing = bool(self._assessment.breakers.hold_offs.leaving)
        self._ends = {OUT_OF_SERVICE, *planner.context.spec.health.removal_taints}
        # By the node's name.
        self._troubles: dict[str, _Trouble] = {}
        # By shape and taint: whether such a pod tolerates it.
        self._tolerated: dict[tuple[int, str], bool] = {}

    def decide(self) -> None:
        """Decide the moves, or note why pods stay."""
        planner, assessment = self._planner, self._assessment
        candidates = in_turn(
            [
                *(found for supply, infos in _troubled(assessment) for found in planner.candidates(supply, infos)),
                *(
                    found
                    for supply, infos in _refusing(assessment)
                    for found in planner.candidates(supply, infos)
                    if _is_refused(assessment, supply, found.pod)
                ),
            ]
        )
        for candidate in sorted(candidates, key=self._rank):
            self._leave(candidate)

    def _rank(self, candidate: MoveCandidate) -> tuple[bool, bool, bool, float]:
        """A planned drain can wait, and so can a pod that does not run: the other pods come first within the limits."""
        planner, pod, trouble = self._planner, candidate.pod, self._trouble(candidate)
        return (
            self._is_drained(candidate, trouble),
            self._leaves_refused(candidate, trouble),
            bool(self._half_open) and any(planner.account.is_poor_canary(pod, target) for target in self._half_open),
            planner.retries.last_refused_at(pod.uid),
        )

    def _leave(self, candidate: MoveCandidate) -> None:
        """Move one pod, or note why it stays."""
        planner, pod = self._planner, candidate.pod
        trouble = self._trouble(candidate)
        why = self._why_it_stays(candidate, trouble)
        if why is not None:
            fault = trouble.fault
            awaited = fault is not None and fault.present and why is Reason.AWAITING_VERDICT
            planner.blocked.add(pod, why, until=fault.confirm_at if fault is not None and awaited else None)
            return
        planner.blocked.recheck(trouble.lost_at)
        lost = trouble.lost_at is not None and self._context.now >= trouble.lost_at
        why = self._why_it_can_not(pod, trouble, lost=lost)
        if why is not None:
            planner.blocked.add(pod, why)
            return
        drain, refused = self._is_drained(candidate, trouble), self._leaves_refused(candidate, trouble)
        if not planner.may_leave(candidate, MoveKind.FAILOVER, drain=drain, dwells=not (trouble.dead or refused)):
            return
        target, room_seconds = _reserve(planner, candidate, dead=trouble.dead, refused=refused)
        if not isinstance(target, Provider):
            planner.blocked.add(pod, Reason.WOULD_STRAND, target)
            return
        reason = Reason.LEAVES_PROVIDER if trouble.gives_up else Reason.LEAVES_SICK_NODE
        reason = Reason.LOST_NODE if lost else Reason.WORKLOAD_BACK_OFF if refused else reason
        flags = {"release": lost, "drain": drain}
        planner.move(candidate, target, MoveKind.FAILOVER, reason, room_seconds=room_seconds, **flags)

    def _is_drained(self, candidate: MoveCandidate, trouble: _Trouble) -> bool:
        """Say whether the pod leaves a drained provider although nothing is wrong with its node."""
        return candidate.supply.provider.drain and not _drives_out(trouble.fault, candidate.pod)

    def _leaves_refused(self, candidate: MoveCandidate, trouble: _Trouble) -> bool:
        """Say whether the pod leaves only because its node refuses it."""
        if trouble.gives_up or not self._refusing:
            return False
        refused = _is_refused(self._assessment, candidate.supply, candidate.pod)
        return refused and not _drives_out(trouble.fault, candidate.pod)

    def _why_it_stays(self, candidate: MoveCandidate, trouble: _Trouble) -> Reason | None:
        """Return the reason why the pod stays on its node; None if it should leave. Free capacity does not matter."""
        supply, pod = candidate.supply, candidate.pod
        policy = supply.provider.running_pods
        if policy is RunningPods.LEAVE:
            return Reason.LEFT_BY_POLICY
        if self._leaves_refused(candidate, trouble):
            return None
        if policy is RunningPods.FROM_UNHEALTHY_NODES and candidate.info.node.name not in supply.unhealthy:
            return Reason.LEFT_BY_POLICY
        if not _drives_out(trouble.fault, pod):
            leaves = trouble.given_up or _is_refused(self._assessment, supply, pod)
            if policy is not RunningPods.MOVE or not leaves:
                return _why_it_need_not_leave(self._assessment, supply, trouble.fault)
        if trouble.awaits_verdict:
            return Reason.AWAITING_VERDICT
        return self._why_it_would_return(pod, trouble.quarantine) if trouble.takes_pods else None

    def _why_it_would_return(self, pod: Pod, value: str | None) -> Reason | None:
        """Return why the scheduler could bind the replacement to the same node; None if the taint prevents that.

        `value`: of the operator's taint on the node; None without it.
        """
        if value is None and self._context.spec.mode is not Mode.OBSERVE:
            return Reason.QUARANTINE_PENDING
        key = (id(pod.shape), value or "")
        tolerated = self._tolerated.get(key)
        if tolerated is None:
            taint = Taint(UNAVAILABLE_KEY, value or "", QUARANTINE_EFFECT)
            tolerated = any(toleration.tolerates(taint) for toleration in pod.shape.tolerations)
            self._tolerated[key] = tolerated
        return Reason.TOLERATES_QUARANTINE if tolerated else None

    def _why_it_can_not(self, pod: Pod, trouble: _Trouble, *, lost: bool) -> Reason | None:
        """Return why a pod that should leave does not. `lost`: its node is lost, so that it is deleted."""
        if not lost and trouble.keeps_names and pod.keeps_name:
            return Reason.LOST_NODE
        if trouble.dead:
            return None
        if may_fail_for_good(pod):
            return Reason.NOT_MOVABLE
        return Reason.AWAITS_REPLACEMENT if pod.ready and self._planner.tries_another(pod) else None

    # --- what is wrong at a node

    def _trouble(self, candidate: MoveCandidate) -> _Trouble:
        name = candidate.info.node.name
        found = self._troubles.get(name)
        if found is None:
            found = self._troubles[name] = self._look(candidate.supply, candidate.info)
        return found

    def _look(self, supply: Supply, info: NodeInfo) -> _Trouble:
        node, gone = info.node, gives_up(supply)
        fault = _fault_of(self._assessment, supply, node.name)
        present = fault.reason if fault is not None and fault.present else None
        silent = present is Reason.NODE_SILENT
        # The only detail of a silence is the announcement of the node's end.
        unsure = fault is not None and fault.reason is Reason.NODE_SILENT and not fault.detail
        stopped = any(taint.key == OUT_OF_SERVICE for taint in node.taints)
        return _Trouble(
            fault=fault,
            gives_up=gone,
            given_up=_is_given_up(self._assessment, supply, fault),
            awaits_verdict=unsure and node.ready == "True" and not gone,
            quarantine=node.quarantine,
            takes_pods=may_take_pods(supply, info, self._context.resource),
            dead=self._is_dead(node, fault),
            keeps_names=not stopped and (node.ready == "Unknown" or silent),
            lost_at=self._lost_at(node.name),
        )

    def _is_dead(self, node: Node, fault: NodeFault | None) -> bool:
        """Say whether nothing was heard of the node for failover.silenceSeconds, or its end is announced.

        All other faults are doubts: the pods may run on.
        """
        dark = fault is not None and fault.present and fault.confirmed and fault.reason in DARK_FAULTS
        announced = fault is not None and fault.present and fault.reason is Reason.REMOVAL_ANNOUNCED
        return dark or announced or any(taint.key in self._ends for taint in node.taints)

    def _lost_at(self, node: str) -> float | None:
        spec, since = self._context.spec.failover, self._unknown_since.get(node)
        return None if spec.lost_pods is LostPods.LEAVE or since is None else since + spec.lost_seconds


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


def _why_it_need_not_leave(assessment: Assessment, supply: Supply, fault: NodeFault | None) -> Reason:
    """Return why nothing drives a pod out. `fault`: its node's."""
    health = assessment.health.providers[supply.provider.name]
    if fault is not None and fault.present:
        return Reason.UNAFFECTED if fault.reason is Reason.BLACK_HOLE else Reason.AWAITING_VERDICT
    if health.starts_none:
        return Reason.UNAFFECTED
    return Reason.AWAITING_VERDICT if fault is None and health.troubled else Reason.RECOVERING
