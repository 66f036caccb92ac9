"""Reschedule: makes room on the full nodes of the primary for a pending pod that no standby can ever take.

The fewest pods that make room leave a single node. They have a lower priority than the pending pod, and standbys have
room for all of them now, so no move makes another move necessary. The scheduler may still give the place to the moved
pod's own replacement. Then the move came to nothing, and the owner's next move waits (`owner_history`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from computepool.assess.capacity.providers import Provider
from computepool.decide.move.planner import MoveCandidate, MovePlanner
from computepool.model.accelerators import request_of
from computepool.model.api import ReschedulePolicy
from computepool.model.cluster import NodeInfo, Pod
from computepool.model.labels import Selector
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.taints import Taint, tolerance_of

TRIES = 64
"""Largest number of sets of pods that one pass tries to move."""


class Site:
    """A node of the primary, with its free resources when all terminating and moved pods are gone."""

    def __init__(
        self, info: NodeInfo, free: Mapping[str, int], leaving: Iterable[Pod], movable: Sequence[MoveCandidate]
    ) -> None:
        """`free`: beside the pending pods that fit there; `leaving`: the pods that are about to go.

        `movable`: the pods on the node that may be moved.
        """
        self.info = info
        self.movable = movable
        self.remaining = dict(free)
        self._free = dict(free)
        self.makes_room = False
        """Whether this pass makes room here. It does so once, because the outcome has to be seen first."""
        for pod in leaving:
            self.give(pod)

    def give(self, pod: Pod) -> None:
        """Count the pod's resources as free."""
        for name, amount in pod.shape.requests:
            self.remaining[name] = self.remaining.get(name, 0) + amount

    def take(self, pod: Pod) -> None:
        """Count the pod's requests as taken."""
        for name, amount in pod.shape.requests:
            self.remaining[name] = self.remaining.get(name, 0) - amount

    def admits(self, pod: Pod, tolerates: Callable[[Sequence[Taint]], bool]) -> bool:
        """Say whether the node's name, labels and taints admit the pod, whatever room it has."""
        node = self.info.node
        return pod.shape.admits(node.name, node.labels) and tolerates(node.taints)

    def is_closed_to(self, pod: Pod) -> bool:
        """Say whether the pod's replacement can't come back, because the node has no room for it now."""
        return any(self._free.get(name, 0) < amount for name, amount in pod.shape.requests)

    def lacks(self, pod: Pod) -> dict[str, int]:
        """Return the resources that the pod needs beyond the free ones; empty if the pod fits."""
        gaps = {name: amount - self.remaining.get(name, 0) for name, amount in pod.shape.requests}
        return {name: gap for name, gap in gaps.items() if gap > 0}


def make_room(planner: MovePlanner, stuck: Sequence[Pod]) -> None:
    """Decide which pods make room for each stuck pod."""
    context = planner.context
    never = context.spec.reschedule.policy is ReschedulePolicy.NEVER
    if never or not stuck or not context.assessment.primary.breaker.closed:
        return
    sites = _sites(planner)
    tries = TRIES
    for pod in stuck:
        tolerates = tolerance_of(pod.shape.tolerations)
        admitting = [site for site in sites if site.admits(pod, tolerates)]
        suitable = next((site for site in admitting if not site.lacks(pod)), None)
        if suitable is not None:
            suitable.take(pod)
            continue
        admitting = [site for site in admitting if not site.makes_room]
        options = sorted(_options(planner, pod, admitting), key=lambda option: _rank(option, context.resource))[:tries]
        tries -= len(options)
        for site, victims in options:
            if _move_all(planner, victims):
                site.makes_room = True
                break


def _sites(planner: MovePlanner) -> list[Site]:
    moving = {move.pod.uid for move in planner.pending.under_way}
    selector = planner.context.spec.reschedule.pod_selector.compiled()
    return [
        Site(
            info,
            free,
            leaving=[pod for pod in info.pods if pod.uid in moving or _is_leaving(pod, planner.context.now)],
            movable=list(_movable(planner, info, selector)),
        )
        for info, free in planner.account.remainders_on_primary()
    ]


def _is_leaving(pod: Pod, now: float) -> bool:
    # A pod that is still there after its grace period does not end by itself.
    return pod.deleting is not None and pod.deleting > now


def _options(planner: MovePlanner, pod: Pod, sites: Iterable[Site]) -> Iterable[tuple[Site, list[MoveCandidate]]]:
    """Yield for each node the fewest pods that make room."""
    max_moves = planner.limits.remaining(MoveKind.RESCHEDULE)
    for site in sites:
        others = [other for other in site.movable if other.pod.priority < pod.priority and site.is_closed_to(other.pod)]
        victims = _fewest_in_turn(planner, site.lacks(pod), others)
        if victims and len(victims) <= max_moves:
            yield site, victims
        elif victims:
            planner.blocked.recheck(planner.limits.recheck_at(MoveKind.RESCHEDULE))


def _movable(planner: MovePlanner, info: NodeInfo, selector: Selector) -> Iterable[MoveCandidate]:
    """Yield the pods of a node that may be moved."""
    for candidate in planner.candidates(planner.context.assessment.primary, (info,)):
        pod = candidate.pod
        if pod.uid in planner.pending.refused or not selector.matches(pod.labels):
            continue
        stays = planner.why_not_by_choice(candidate)
        if stays is None:
            yield candidate
        else:
            planner.blocked.recheck(stays[1])


def _fewest_in_turn(
    planner: MovePlanner, gaps: Mapping[str, int], pods: Sequence[MoveCandidate]
) -> list[MoveCandidate]:
    """Return few pods that close the gaps, of each owner only as many as may be under way; empty if they do not."""
    resource = planner.context.resource
    victims = fewest(gaps, pods, resource)
    if len(_at_once(planner, victims)) == len(victims):
        return victims
    largest = sorted(pods, key=lambda candidate: -request_of(candidate.pod, resource))
    return fewest(gaps, _at_once(planner, largest), resource)


def _at_once(planner: MovePlanner, candidates: Iterable[MoveCandidate]) -> list[MoveCandidate]:
    """Return the first candidates of each owner, as many as may be under way at once."""
    chosen: list[MoveCandidate] = []
    counts: dict[str, int] = {}
    for candidate in candidates:
        owner = candidate.pod.owner
        counts[owner] = counts.get(owner, 0) + 1
        if not owner or counts[owner] <= planner.history.remaining(candidate.pod):
            chosen.append(candidate)
    return chosen


def fewest(gaps: Mapping[str, int], pods: Iterable[MoveCandidate], resource: str) -> list[MoveCandidate]:
    """Return few pods that close the gaps, low priorities first; empty if all pods together do not close them."""
    candidates = sorted(
        pods,
        key=lambda candidate: (candidate.pod.priority, request_of(candidate.pod, resource), -candidate.pod.created),
    )
    alone = next((candidate for candidate in candidates if not _gap_remains(gaps, [candidate])), None)
    if alone is not None:
        return [alone]
    chosen: list[MoveCandidate] = []
    for candidate in sorted(candidates, key=lambda candidate: -request_of(candidate.pod, resource)):
        if not _gap_remains(gaps, chosen):
            break
        chosen.append(candidate)
    if _gap_remains(gaps, chosen):
        return []
    for candidate in reversed(candidates):
        # A pod is not needed if the other pods close the gaps.
        if candidate in chosen and not _gap_remains(gaps, [other for other in chosen if other is not candidate]):
            chosen.remove(candidate)
    return chosen


def _gap_remains(gaps: Mapping[str, int], chosen: Iterable[MoveCandidate]) -> bool:
    """Say whether a gap remains when these pods are gone."""
    freed: dict[str, int] = {}
    for candidate in chosen:
        for name, amount in candidate.pod.shape.requests:
            freed[name] = freed.get(name, 0) + amount
    return any(freed.get(name, 0) < gap for name, gap in gaps.items())


def _rank(option: tuple[Site, list[MoveCandidate]], resource: str) -> tuple[object, ...]:
    """Sort by the number of moves, then the highest priority among them, then the accelerators that they hold."""
    site, victims = option
    held = sum(request_of(victim.pod, resource) for victim in victims)
    return (len(victims), max(victim.pod.priority for victim in victims), held, site.info.node.name)


def _move_all(planner: MovePlanner, victims: Sequence[MoveCandidate]) -> bool:
    """Move all pods if the standbys have room for all of them now. Say whether they move."""
    standbys = [target for target in planner.context.standbys if planner.account.breaker_is_closed(target)]
    places: list[Provider] = []
    with planner.account.trial() as trial:
        for victim in victims:
            target = planner.reserve_target(victim, standbys)
            if not isinstance(target, Provider):
                return False
            places.append(target)
        trial.commit()
    for victim, target in zip(victims, places, strict=True):
        planner.move(victim, target, MoveKind.RESCHEDULE, Reason.MAKES_ROOM)
    return True
