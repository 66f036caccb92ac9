"""Room is made on a saturated primary for a pending pod that no standby may ever take.

As few pods as possible, of lower priority and from a single node, are moved to standbys that have room for all of them
now. So no pod's move makes another one necessary.
"""

from collections.abc import Iterable, Mapping, Sequence

from computepool.assess.capacity.providers import Provider
from computepool.decide.move.eligibility import movable
from computepool.decide.move.planner import Candidate, MovePlanner
from computepool.model.accelerators import request_of
from computepool.model.api import ReschedulePolicy
from computepool.model.cluster import NodeInfo, Pod
from computepool.model.labels import Selector
from computepool.model.moves import MoveKind
from computepool.model.reasons import Reason
from computepool.model.taints import tolerated

TRIES = 64
"""Sets of pods that are tried in one pass at most."""


class Site:
    """A node of the primary: what is left of it, with what terminating and moved pods are about to leave."""

    def __init__(
        self, info: NodeInfo, left: Mapping[str, int], leaving: Iterable[Pod], able: Sequence[Candidate]
    ) -> None:
        """`left`: after the waiting pods that fit there; `able`: the pods on it that may be moved."""
        self.info = info
        self.able = able
        self.left = dict(left)
        self._free = dict(left)
        self.given = False
        """Whether this pass has made room on it: once at a time, because the outcome has to be seen first."""
        for pod in leaving:
            self.give(pod)

    def give(self, pod: Pod) -> None:
        """Count what the pod holds as free."""
        for name, amount in pod.shape.requests:
            self.left[name] = self.left.get(name, 0) + amount

    def take(self, pod: Pod) -> None:
        """Count what the pod requests as taken."""
        for name, amount in pod.shape.requests:
            self.left[name] = self.left.get(name, 0) - amount

    def admits(self, pod: Pod) -> bool:
        """Say whether the pod may run on the node, room or not."""
        node = self.info.node
        return pod.shape.admits(node.name, node.labels) and tolerated(node.taints, pod.shape.tolerations)

    def is_left_by(self, pod: Pod) -> bool:
        """Say whether the node has no room for the pod's replacement, which would come back otherwise."""
        return any(self._free.get(name, 0) < amount for name, amount in pod.shape.requests)

    def lacks(self, pod: Pod) -> dict[str, int]:
        """Return what is missing for the pod; nothing: it fits."""
        gaps = {name: amount - self.left.get(name, 0) for name, amount in pod.shape.requests}
        return {name: gap for name, gap in gaps.items() if gap > 0}


def make_room(planner: MovePlanner, stuck: Sequence[Pod]) -> None:
    """Decide which pods make room for the pods that are stuck, each in its turn."""
    context = planner.context
    saturated = context.assessment.saturation.saturated is True and context.assessment.primary.breaker.closed
    if context.spec.reschedule.policy is ReschedulePolicy.NEVER or not saturated or not stuck:
        return
    sites = _sites(planner)
    tries = TRIES
    for pod in stuck:
        open_to = [site for site in sites if site.admits(pod)]
        served = next((site for site in open_to if not site.lacks(pod)), None)
        if served is not None:
            served.take(pod)
            continue
        open_to = [site for site in open_to if not site.given]
        options = sorted(_options(planner, pod, open_to), key=lambda option: _price(option, context.resource))[:tries]
        tries -= len(options)
        for site, victims in options:
            if _move_all(planner, victims):
                site.given = True
                break


def _sites(planner: MovePlanner) -> list[Site]:
    asked = {move.pod.uid for move in planner.pending.under_way}
    chosen = planner.context.spec.reschedule.pod_selector.compiled()
    return [
        Site(
            info,
            left,
            leaving=[pod for pod in info.pods if pod.uid in asked or _leaves(pod, planner.context.now)],
            able=list(_able(planner, info, chosen)),
        )
        for info, left in planner.account.remainders_on_primary()
    ]


def _leaves(pod: Pod, now: float) -> bool:
    # A pod whose time is over and that is still there is stuck.
    return pod.deleting is not None and pod.deleting > now


def _options(planner: MovePlanner, pod: Pod, sites: Iterable[Site]) -> Iterable[tuple[Site, list[Candidate]]]:
    """Yield the fewest pods of each node that would make room."""
    most = planner.limits.remaining(MoveKind.RESCHEDULE)
    for site in sites:
        able = [one for one in site.able if one.pod.priority < pod.priority and site.is_left_by(one.pod)]
        victims = fewest(site.lacks(pod), able, planner.context.resource)
        if victims and len(victims) <= most:
            yield site, victims
        elif victims:
            planner.blocked.recheck(planner.limits.recheck_at(MoveKind.RESCHEDULE))


def _able(planner: MovePlanner, info: NodeInfo, chosen: Selector) -> Iterable[Candidate]:
    """Yield the pods of a node that may make room."""
    for candidate in planner.candidates(planner.context.assessment.primary, (info,)):
        pod = candidate.pod
        refused = pod.uid in planner.pending.refused
        if refused or not chosen.matches(pod.labels) or not movable(pod, MoveKind.RESCHEDULE):
            continue
        until = planner.dwells_until(pod)
        planner.blocked.recheck(until)
        if until is None:
            yield candidate


def fewest(gaps: Mapping[str, int], able: Iterable[Candidate], resource: str) -> list[Candidate]:
    """Return as few pods as close the gaps, the least important pods of equal numbers; none if all do not."""
    candidates = sorted(able, key=lambda one: (one.pod.priority, request_of(one.pod, resource), -one.pod.created))
    alone = next((candidate for candidate in candidates if not _gap_left(gaps, [candidate])), None)
    if alone is not None:
        return [alone]
    chosen: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: -request_of(one.pod, resource)):
        if not _gap_left(gaps, chosen):
            break
        chosen.append(candidate)
    if _gap_left(gaps, chosen):
        return []
    for candidate in reversed(candidates):
        # A pod is not needed where the other pods close the gaps by themselves, whatever came first.
        if candidate in chosen and not _gap_left(gaps, [other for other in chosen if other is not candidate]):
            chosen.remove(candidate)
    return chosen


def _gap_left(gaps: Mapping[str, int], chosen: Iterable[Candidate]) -> bool:
    """Say whether a gap is left once these pods are gone."""
    freed: dict[str, int] = {}
    for candidate in chosen:
        for name, amount in candidate.pod.shape.requests:
            freed[name] = freed.get(name, 0) + amount
    return any(freed.get(name, 0) < gap for name, gap in gaps.items())


def _price(option: tuple[Site, list[Candidate]], resource: str) -> tuple[object, ...]:
    """Sort the fewest moves first, then the least important pods, then the pods that hold the least."""
    site, victims = option
    held = sum(request_of(victim.pod, resource) for victim in victims)
    return (len(victims), max(victim.pod.priority for victim in victims), held, site.info.node.name)


def _move_all(planner: MovePlanner, victims: Sequence[Candidate]) -> bool:
    """Move all of the pods, if the standbys have room for all at the same time."""
    standbys = [target for target in planner.context.standbys if planner.account.is_closed(target)]
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
