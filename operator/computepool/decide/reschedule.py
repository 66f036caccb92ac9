"""Room is made on a saturated primary for a pending pod that no standby may ever take.

As few pods as possible, of lower priority and from a single node, are moved to standbys that have room for all of them
now; so one pod's move never makes another's necessary.
"""

from collections.abc import Iterable, Mapping, Sequence

from computepool.assess.targets import Target
from computepool.decide.movable import movable
from computepool.decide.movement import Leaver, Movement
from computepool.decide.room import Room
from computepool.model.api import ReschedulePolicy
from computepool.model.labels import Selector
from computepool.model.reasons import Reason
from computepool.model.snapshot import MoveKind, NodeUse, Pod
from computepool.model.taints import tolerated

TRIES = 64
"""Sets of pods that are tried in one pass at most."""


class Site:
    """A node of the primary: what is left of it, with what terminating and moved pods are about to leave."""

    def __init__(self, use: NodeUse, left: Mapping[str, int], leaving: Iterable[Pod], able: Sequence[Leaver]) -> None:
        """`left`: after the waiting pods that fit there; `able`: those on it that may be moved."""
        self.use = use
        self.able = able
        self.left = dict(left)
        self._free = dict(left)
        self.given = False
        """Whether this pass has made room on it: once at a time, as what comes of it is to be seen first."""
        for pod in leaving:
            self.give(pod)

    def give(self, pod: Pod) -> None:
        """Count what the pod holds as free."""
        for name, amount in pod.shape.requests:
            self.left[name] = self.left.get(name, 0) + amount

    def take(self, pod: Pod) -> None:
        """Count what the pod asks for as taken."""
        for name, amount in pod.shape.requests:
            self.left[name] = self.left.get(name, 0) - amount

    def admits(self, pod: Pod) -> bool:
        """Say whether the pod may run on the node, room or not."""
        node = self.use.node
        return pod.shape.admits(node.name, node.labels) and tolerated(node.taints, pod.shape.tolerations)

    def is_left_by(self, pod: Pod) -> bool:
        """Say whether the node has no room for the pod that is made in this one's place: that would come back."""
        return any(self._free.get(name, 0) < amount for name, amount in pod.shape.requests)

    def lacks(self, pod: Pod) -> dict[str, int]:
        """Return what is missing for the pod; nothing: it fits."""
        gaps = {name: amount - self.left.get(name, 0) for name, amount in pod.shape.requests}
        return {name: gap for name, gap in gaps.items() if gap > 0}


def make_room(movement: Movement, stuck: Sequence[Pod]) -> None:
    """Decide who makes room for the pods that are stuck, each in its turn."""
    primary = movement.assessment.primary
    policy = movement.snapshot.pool.spec.reschedule.policy
    saturated = movement.assessment.saturation.saturated is True and primary.breaker.closed
    if policy is ReschedulePolicy.NEVER or not saturated or not stuck:
        return
    sites = _sites(movement)
    tries = TRIES
    for pod in stuck:
        open_to = [site for site in sites if site.admits(pod)]
        served = next((site for site in open_to if not site.lacks(pod)), None)
        if served is not None:
            served.take(pod)
            continue
        open_to = [site for site in open_to if not site.given]
        options = sorted(_options(movement, pod, open_to), key=lambda one: _price(one, movement.room.resource))[:tries]
        tries -= len(options)
        for site, victims in options:
            if _moved(movement, victims):
                site.given = True
                break


def _sites(movement: Movement) -> list[Site]:
    asked = {one.pod.uid for one in movement.flights.under_way}
    chosen = movement.snapshot.pool.spec.reschedule.pod_selector.compiled()
    return [
        Site(
            use,
            left,
            leaving=[pod for pod in use.pods if pod.uid in asked or _leaves(pod, movement.now)],
            able=list(_able(movement, use, chosen)),
        )
        for use, left in movement.room.packer(movement.assessment.primary.target).remainders()
    ]


def _leaves(pod: Pod, now: float) -> bool:
    # One whose time is over and that is still there is stuck.
    return pod.deleting is not None and pod.deleting > now


def _options(movement: Movement, pod: Pod, sites: Iterable[Site]) -> Iterable[tuple[Site, list[Leaver]]]:
    """Yield the fewest pods of each node that would make room."""
    most = movement.governor.left(MoveKind.RESCHEDULE)
    for site in sites:
        able = [one for one in site.able if one.pod.priority < pod.priority and site.is_left_by(one.pod)]
        victims = fewest(site.lacks(pod), able, movement.room.resource)
        if victims and len(victims) <= most:
            yield site, victims
        elif victims:
            movement.stays.later(movement.governor.again(MoveKind.RESCHEDULE))


def _able(movement: Movement, use: NodeUse, chosen: Selector) -> Iterable[Leaver]:
    """Yield the pods of a node that may make room."""
    for one in movement.leavers(movement.assessment.primary, (use,)):
        pod = one.pod
        if (
            not chosen.matches(pod.labels)
            or not movable(pod, MoveKind.RESCHEDULE)
            or pod.uid in movement.flights.refused
        ):
            continue
        until = movement.dwell.until(pod)
        movement.stays.later(until)
        if until is None:
            yield one


def fewest(gaps: Mapping[str, int], able: Iterable[Leaver], resource: str) -> list[Leaver]:
    """Return as few pods as close the gaps, the least important ones of equal numbers; none if all do not."""
    candidates = sorted(able, key=lambda one: (one.pod.priority, one.pod.shape.request(resource), -one.pod.created))
    alone = next((one for one in candidates if not _still(gaps, [one])), None)
    if alone is not None:
        return [alone]
    chosen: list[Leaver] = []
    for one in sorted(candidates, key=lambda one: -one.pod.shape.request(resource)):
        if not _still(gaps, chosen):
            break
        chosen.append(one)
    if _still(gaps, chosen):
        return []
    for one in reversed(candidates):
        # What the others close by themselves is not needed, whatever came first.
        if one in chosen and not _still(gaps, [other for other in chosen if other is not one]):
            chosen.remove(one)
    return chosen


def _still(gaps: Mapping[str, int], chosen: Iterable[Leaver]) -> bool:
    """Say whether a gap is left once these are gone."""
    freed: dict[str, int] = {}
    for one in chosen:
        for name, amount in one.pod.shape.requests:
            freed[name] = freed.get(name, 0) + amount
    return any(freed.get(name, 0) < gap for name, gap in gaps.items())


def _price(option: tuple[Site, list[Leaver]], resource: str) -> tuple[object, ...]:
    """Sort the fewest moves first, then the least important, then those that hold the least."""
    site, victims = option
    held = sum(one.pod.shape.request(resource) for one in victims)
    return (len(victims), max(one.pod.priority for one in victims), held, site.use.node.name)


def _moved(movement: Movement, victims: Sequence[Leaver]) -> bool:
    """Move all of them, if the standbys have room for all at the same time."""
    room: Room = movement.room.fork()
    places: list[Target] = []
    for one in victims:
        target = movement.to(one, [t for t in room.standbys if room.closed(t)], room)
        if not isinstance(target, Target):
            return False
        places.append(target)
    movement.adopt(room)
    for one, target in zip(victims, places, strict=True):
        movement.move(one, target, MoveKind.RESCHEDULE, Reason.MAKES_ROOM)
    return True
